#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/kernels/sparse_choice.h"
#include "compress/model_folder/model_folder.h"
#include "prune/sparse.h"
#include "recipes/load.h"
#include "recipes/run.h"
#include "tests/recipes/tiny_task.h"
#include "tests/support.h"

namespace compression::recipes {
namespace {

using namespace testing;
namespace fs = std::filesystem;

struct GradualRun {
  TemporaryFolder root;

  GradualRun() {
    write_texts(root / "train.jsonl", 96, 1);
    write_texts(root / "validation.jsonl", 30, 2);
  }

  Report run(const std::vector<std::string>& overrides, Context context = quiet_context({})) const {
    const auto text = fmt::format(R"(
version: 1
name: tiny
seed: 3
output: {0}/runs
model: {{path: {1}}}
data:
  max_length: 20
  train: {{path: {0}/train.jsonl}}
  validation: {{path: {0}/validation.jsonl}}
stages:
  - id: teacher
    finetune: {{epochs: 4, learning_rate: 2.0e-3, batch_size: 16, precision: int16}}
  - id: small
    gradual:
      of: teacher
      rounds: 3
      prune: {{importance: fisher, macs_reduction: 4, score_examples: 64, batch_size: 16}}
      distill: {{teacher: teacher, epochs: 1, learning_rate: 2.0e-3, batch_size: 16, precision: int16}}
)",
                                  root.path().string(), golden("model/tiny").string());
    return recipes::run(parse_recipe(text, "tiny.yaml", overrides), context);
  }

  fs::path result() const { return root / "runs/small"; }
  nlohmann::json rounds() const { return read_json_file(result() / "compress.json").at("notes").at("rounds"); }
};

TEST_CASE("gradual pruning of single weights ends at its density, in its pattern, and the zeros are held") {
  const GradualRun gradual;
  gradual.run(
      {"stages.small.gradual.prune={importance: first_order, pattern: 1x4, density: 0.25, score_examples: 64, "
       "batch_size: 16}"});
  const auto rounds = gradual.rounds();
  REQUIRE(rounds.size() == 3);
  CHECK(rounds[0].at("density") > rounds[1].at("density"));
  CHECK(rounds[2].at("density") == 0.25);
  auto model = load_model(gradual.result()).model;
  CHECK(model->config().sparsity == SparsityPattern::block_1x4);
  for (const auto& linear : model->block_linears()) {
    const auto blocks = prune::block_sums(linear->weight.ne(0).to(torch::kFloat), {.columns = 4});
    CHECK(blocks.ne(0).to(torch::kFloat).mean().item<double>() == Approx(0.25).margin(0.01));
  }
}

TEST_CASE("gradual pruning by sensitivity leaves its density of all matrices together") {
  const GradualRun gradual;
  gradual.run(
      {"stages.small.gradual.prune={importance: first_order, pattern: 1x4, density: 0.25, allocation: sensitivity, "
       "score_examples: 64, batch_size: 16}"});
  auto model = load_model(gradual.result()).model;
  std::set<int64_t> shares;  // in hundredths
  double kept = 0.0, all = 0.0;
  for (const auto& linear : model->block_linears()) {
    const auto blocks = prune::block_sums(linear->weight.ne(0).to(torch::kFloat), {.columns = 4}).ne(0);
    kept += blocks.sum().item<double>();
    all += static_cast<double>(blocks.numel());
    shares.insert(std::llround(100.0 * blocks.to(torch::kFloat).mean().item<double>()));
  }
  CHECK(kept / all == Approx(0.25).margin(0.01));
  CHECK(shares.size() > 1);
}

TEST_CASE("a report shows no scores of units where single weights went") {
  const GradualRun gradual;
  gradual.run({"stages.teacher.finetune.epochs=1",
               "stages.small={id: small, prune: {of: teacher, importance: magnitude, pattern: 1x4, density: 0.5}}"});
  CHECK_FALSE(fs::exists(gradual.result() / "importance.svg"));
  CHECK_THAT(read_file(gradual.root / "runs/report.md"),
             !Catch::Contains("importance.svg") && Catch::Contains("## Zeros"));
}

TEST_CASE("time that no kernel saves here is told, and nothing is written") {
  const GradualRun gradual;
  kernels::set_sparse_choice(kernels::SparseChoice());  // zeros are multiplied
  CHECK_THROWS_WITH(gradual.run({"stages.small={id: small, prune: {of: teacher, importance: magnitude, pattern: 1x4, "
                                 "latency_reduction: 2, allocation: sensitivity}}"}),
                    Catch::Contains("found a budget of 0.5 of what dense matrices cost; expected 1 at least"));
  kernels::set_sparse_choice(std::nullopt);
  CHECK_FALSE(fs::exists(gradual.result()));
}

TEST_CASE("gradual pruning ends at its budget and keeps every round") {
  const GradualRun gradual;
  const auto report = gradual.run({});
  CHECK(report.stages[1].macs * 4 <= report.stages[0].macs);
  const auto rounds = gradual.rounds();
  REQUIRE(rounds.size() == 3);
  CHECK(rounds[0].at("macs_reduction") > 1.5);
  CHECK(rounds[0].at("macs_reduction") < rounds[1].at("macs_reduction"));
  CHECK(rounds[2].at("position") == 1.0);
  for (int i = 1; i <= 3; ++i) CHECK(fs::exists(gradual.result() / fmt::format("rounds/{}/model.safetensors", i)));
  CHECK(read_file(gradual.result() / "model.safetensors") ==
        read_file(gradual.result() / "rounds/3/model.safetensors"));
  CHECK(read_json_file(gradual.result() / "rounds/1/config.json") != read_json_file(gradual.result() / "config.json"));
  CHECK_FALSE(fs::exists(gradual.root / "runs/.small.resume"));
  CHECK(read_json_file(gradual.root / "runs/report.json").at("stages").at(1).at("rounds") == rounds);
  CHECK_THAT(read_file(gradual.root / "runs/report.md"), Catch::Contains("## Rounds of `small`"));
}

TEST_CASE("gradual pruning goes on where whole blocks went, by scores of weights and of gradients") {
  const auto method = GENERATE(as<std::string>(), "magnitude", "taylor", "surgeon");
  INFO(method);
  const GradualRun gradual;
  gradual.run({"stages.teacher.finetune.epochs=1", "stages.small.gradual.prune.macs_reduction=9",
               "stages.small.gradual.prune.whole_blocks=true", "stages.small.gradual.prune.score_examples=16",
               "stages.small.gradual.prune.importance=" + method, "stages.small.gradual.prune.reconstruct=layerwise"});
  const auto layers = load_model_config(gradual.result()).layers;
  CHECK(std::ranges::any_of(layers,
                            [](const BlockSpec& layer) { return layer.attention.heads == 0 || layer.mlp.units == 0; }));
}

TEST_CASE("a round below the bound is undone, and the steps are halved") {
  const GradualRun gradual;
  // A learning rate of nearly 0 recovers nothing, so that the last steps cost too much.
  gradual.run({"stages.small.gradual.distill.learning_rate=1e-9", "stages.small.gradual.prune.macs_reduction=5.9",
               "stages.small.gradual.max_drop=0.1"});
  const auto rounds = gradual.rounds();
  const auto teacher = read_json_file(gradual.root / "runs/teacher/compress.json")
                           .at("metrics")
                           .at("validation")
                           .at("accuracy")
                           .get<double>();
  double position = 0.0;
  int undone = 0;
  for (const auto& round : rounds) {
    const bool kept = round.at("kept");
    CHECK(kept == (teacher - round.at("validation_accuracy").get<double>() <= 0.1 + 1e-9));
    CHECK(round.at("position").get<double>() == Approx(std::min(1.0, position + 1.0 / 3 / (1 << undone))));
    kept ? void(position = round.at("position")) : void(++undone);
  }
  CHECK(undone == 3);
  const auto small = read_json_file(gradual.result() / "compress.json").at("metrics").at("validation").at("accuracy");
  CHECK(teacher - small.get<double>() <= 0.1 + 1e-9);
}

TEST_CASE("a round whose error rose beyond the bound is undone") {
  const GradualRun gradual;
  for (const auto* name : {"train.jsonl", "validation.jsonl"}) {  // how much of a text is one word
    std::mt19937_64 random(7);
    std::string text;
    for (int i = 0; i < 60; ++i) {
      std::string line;
      int count = 0;
      for (int w = 0; w < 8; ++w) {
        const bool one = random() % 8 < static_cast<uint64_t>(i) % 9;
        count += one ? 1 : 0;
        line += one ? "the " : "of ";
      }
      text += nlohmann::json{{"text", line}, {"label", count / 4.0 - 1.0}}.dump() + "\n";
    }
    write_file(gradual.root / name, text);
  }
  gradual.run({"task={type: regression, metric: mse}", "stages.small.gradual.distill.learning_rate=1e-9",
               "stages.small.gradual.prune.macs_reduction=5.9", "stages.small.gradual.max_drop=0.02",
               "stages.small.gradual.max_halvings=1"});
  const auto teacher = read_json_file(gradual.result() / "compress.json").at("notes").at("teacher_validation_mse");
  bool undone = false;
  for (const auto& round : gradual.rounds()) {
    const auto error = round.at("validation_mse").get<double>();
    CHECK(round.at("kept") == (error - teacher.get<double>() <= 0.02 + 1e-9));
    undone |= error > teacher.get<double>() + 0.02;
  }
  CHECK(undone);
}

TEST_CASE("gradual pruning that was stopped goes on in its round, to the same bits") {
  const GradualRun whole, stopped;
  whole.run({});
  auto context = quiet_context({});
  std::atomic<bool> stop{false};
  context.stop = &stop;
  // In the middle of: the second round's training, the third's scoring.
  int scorings = 0;
  std::string last;
  const auto where = GENERATE(std::string("loss"), std::string("scoring"));
  context.progress = [&](int64_t done, int64_t, std::string_view text) {
    if (text.starts_with("scoring") && !last.starts_with("scoring")) ++scorings;
    last = text;
    if (scorings == (where == "loss" ? 2 : 3) && text.starts_with(where) && done > 1) stop = true;
  };
  CHECK_THROWS_AS(stopped.run({}, context), Interrupted);
  CHECK(fs::exists(stopped.root / "runs/.small.resume/1/model.safetensors"));
  CHECK_FALSE(fs::exists(stopped.result()));
  stopped.run({});
  CHECK(read_file(stopped.result() / "model.safetensors") == read_file(whole.result() / "model.safetensors"));
  CHECK(stopped.rounds() == whole.rounds());
}

TEST_CASE("a teacher whose folder has its classes in another order is as good as it was") {
  const GradualRun gradual;
  gradual.run({});
  const auto teacher = gradual.root / "runs/teacher", other = gradual.root / "other";
  fs::create_directory(other);
  const TaskHead reordered{{"preposition", "article", "conjunction"}, TaskType::classification};
  save_model(load_model(teacher, {.head = reordered}).model, *load_tokenizer(teacher), other);
  const auto notes = [&] { return read_json_file(gradual.result() / "compress.json").at("notes"); };
  const auto before = notes().at("teacher_validation_accuracy");
  gradual.run({"stages.small.gradual.distill.teacher=" + other.string(), "stages.small.gradual.rounds=1"});
  CHECK(notes().at("teacher_validation_accuracy") == before);
}

TEST_CASE("rounds of gradual pruning train longer towards the end where last_epochs says so") {
  const GradualRun gradual;
  gradual.run({"stages.small.gradual.last_epochs=3"});
  const auto rounds = gradual.rounds();
  REQUIRE(rounds.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(rounds[i].at("training").at("steps") == (i + 1) * 6);
  CHECK_THAT(message_of<ConfigError>([&] { gradual.run({"stages.small.gradual.last_epochs=0"}); }),
             Catch::Contains("stages[1].gradual.last_epochs"));
}

TEST_CASE("settings of gradual pruning are checked where they stand") {
  const GradualRun gradual;
  CHECK_THAT(message_of<ConfigError>([&] { gradual.run({"stages.small.gradual.prune.heads=2"}); }),
             Catch::Contains("stages[1].gradual.prune") && Catch::Contains("more than one budget"));
  CHECK_THAT(message_of<ConfigError>([&] { gradual.run({"stages.small.gradual.distill.epochs=0"}); }),
             Catch::Contains("stages[1].gradual.distill.epochs"));
  CHECK_THAT(message_of<ConfigError>([&] { gradual.run({"stages.small.gradual.prune.hidden_size=16"}); }),
             Catch::Contains("stages[1].gradual.prune.hidden_size"));
}

}  // namespace
}  // namespace compression::recipes
