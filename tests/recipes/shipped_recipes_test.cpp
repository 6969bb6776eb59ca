// The recipes of recipes/, whole, on small models in place of theirs.
#include "compress/base/json_file.h"
#include "recipes/load.h"
#include "recipes/run.h"
#include "tests/recipes/tiny_task.h"

namespace compression::recipes {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// A folder with what the recipes name: encoders of as many layers and heads, but narrow, and texts.
struct SmallWorld {
  TemporaryFolder root;
  fs::path before = fs::current_path();

  SmallWorld() {
    auto config = tiny_model()->config();
    config.hidden_size = 48;
    config.layers.assign(6, blocks({{12, 512}}, 4).front());
    config.task = TaskType::embedding;
    config.labels.clear();
    config.source = nullptr;
    at::manual_seed(1);
    Model model(config);
    model->initialize();
    const auto tokenizer = load_tokenizer(golden("model/tiny"));
    for (const auto* name : {"all-MiniLM-L6-v2", "all-mpnet-base-v2"}) {
      fs::create_directories(root / "models" / name);
      save_model(model, *tokenizer, root / "models" / name);
    }
    for (const auto* name : {"bbc", "clinc150"}) {
      fs::create_directories(root / "data" / name);
      write_texts(root / "data" / name / "train.jsonl", 64, 1);
      write_texts(root / "data" / name / "validation.jsonl", 20, 2);
      write_texts(root / "data" / name / "test.jsonl", 20, 3);
    }
    fs::current_path(root.path());
  }
  ~SmallWorld() { fs::current_path(before); }
};

/// A pass over the texts in place of several, and students as narrow as the teacher; all training with one arithmetic.
std::vector<std::string> shortened(const Recipe& recipe, const std::string& precision) {
  std::vector<std::string> overrides{"data.max_length=24"};
  if (recipe.goals.macs) overrides.push_back("goals.macs.min_reduction=1");
  for (const auto& stage : recipe.stages) {
    const auto key = fmt::format("stages.{}.{}", stage.id, stage_kind(stage.config));
    const auto trains = [&](const std::string& at) {
      overrides.insert(overrides.end(), {at + ".epochs=1", at + ".precision=" + precision});
    };
    if (std::holds_alternative<FinetuneConfig>(stage.config)) trains(key);
    if (std::holds_alternative<GradualConfig>(stage.config)) {
      overrides.insert(overrides.end(), {key + ".rounds=2", key + ".max_drop=1"});
      trains(key + ".distill");
    }
    if (const auto* distill = std::get_if<distill::DistillConfig>(&stage.config)) {
      trains(key);
      if (distill->student.hidden_size) {
        overrides.insert(overrides.end(), {key + ".student.hidden_size=24", key + ".student.num_attention_heads=6",
                                           key + ".student.intermediate_size=64"});
      }
    }
  }
  return overrides;
}

void run_whole(const std::string& name, const std::string& precision = "auto") {
  const SmallWorld world;
  const auto path = fs::path(COMPRESS_SOURCE_DIR) / "recipes" / (name + ".yaml");
  const auto recipe = load_recipe(path, shortened(load_recipe(path, {}, FileCheck::off), precision));
  auto context = quiet_context({});
  const auto report = run(recipe, context);
  CHECK(report.stages.size() == recipe.stages.size());
  CHECK(report.split == "test");
  CHECK(fs::exists(recipe.output / recipe.stages.back().id / "compress.json"));
}

TEST_CASE("recipes/base_teacher.yaml runs from its first stage to its last") {
  run_whole("base_teacher");
}
TEST_CASE("recipes/family.yaml runs from its first stage to its last") {
  run_whole("family");
}
TEST_CASE("recipes/fastformers.yaml runs from its first stage to its last") {
  run_whole("fastformers");
}
TEST_CASE("recipes/gradual.yaml runs from its first stage to its last") {
  run_whole("gradual");
}
TEST_CASE("recipes/one_shot.yaml runs from its first stage to its last") {
  run_whole("one_shot");
}
TEST_CASE("recipes/quickstart.yaml runs from its first stage to its last") {
  run_whole("quickstart");
}
TEST_CASE("recipes/sparse.yaml runs from its first stage to its last") {
  run_whole("sparse");
}
TEST_CASE("recipes/task_agnostic.yaml runs from its first stage to its last") {
  run_whole("task_agnostic");
}
TEST_CASE("recipes/tinybert.yaml runs from its first stage to its last") {
  run_whole("tinybert");
}

TEST_CASE("recipes whose losses are on layers run in every precision, whatever auto is on this machine") {
  const auto name = GENERATE(as<std::string>(), "task_agnostic", "tinybert");
  const auto precision = GENERATE(as<std::string>(), "fp32", "bf16", "fp16", "int16");
  INFO(name << " in " << precision);
  run_whole(name, precision);
}

TEST_CASE("every recipe has its test") {
  const auto tests = read_file(__FILE__);
  for (const auto& entry : fs::directory_iterator(fs::path(COMPRESS_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    INFO(entry.path());
    CHECK(tests.find(fmt::format("run_whole(\"{}\")", entry.path().stem().string())) != std::string::npos);
  }
}

}  // namespace
}  // namespace compression::recipes
