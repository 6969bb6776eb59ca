#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "recipes/load.h"
#include "recipes/quality.h"
#include "recipes/run.h"
#include "recipes/runnable.h"
#include "recipes/task_data.h"
#include "tests/recipes/tiny_task.h"
#include "tests/support.h"

namespace compression::recipes {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// A folder with data, and a recipe on the tiny model that goes through every stage.
struct TinyRun {
  TemporaryFolder root;

  TinyRun() {
    write_texts(root / "train.jsonl", 96, 1);
    write_texts(root / "validation.jsonl", 30, 2);
    write_texts(root / "test.jsonl", 50, 3);
  }

  Recipe recipe(std::vector<std::string> overrides = {}) const {
    const auto text = R"(
version: 1
name: tiny
seed: 3
output: )" + (root / "runs").string() +
                      R"(
model: {path: )" + golden("model/tiny").string() +
                      R"(}
data:
  max_length: 20
  train: {path: )" + (root / "train.jsonl").string() +
                      R"(}
  validation: {path: )" +
                      (root / "validation.jsonl").string() +
                      R"(}
  test: {path: )" + (root / "test.jsonl").string() +
                      R"(}
stages:
  - id: teacher
    finetune: {epochs: 4, learning_rate: 2.0e-3, batch_size: 16, precision: int16}
  - id: student
    distill:
      teacher: teacher
      student: {from: teacher, layers: [0, 2]}
      losses: [{type: logits}, {type: labels, weight: 0.1}, {type: hidden_states, weight: 0.1}, {type: attentions, weight: 0.1}]
      epochs: 3
      learning_rate: 2.0e-3
      precision: int16
  - id: pruned
    prune: {of: student, heads: 2, intermediate_size: 20, score_examples: 64}
  - id: recovered
    distill: {teacher: teacher, student: {from: pruned}, epochs: 3, learning_rate: 2.0e-3, precision: int16}
  - id: int8
    quantize: {of: recovered, scheme: int8_dynamic}
  - id: shipped
    export: {of: int8}
goals:
  accuracy: {relative_to: teacher, max_drop: 0.2}
  size: {max: 200kB}
  macs: {relative_to: teacher, min_reduction: 2}
)";
    return parse_recipe(text, "tiny.yaml", overrides);
  }

  Report run(std::vector<std::string> overrides = {}) const {
    auto context = quiet_context({});
    return recipes::run(recipe(overrides), context);
  }
};

std::vector<std::string> stages_run(const Report& report) {
  std::vector<std::string> ids;
  for (const auto& stage : report.stages) {
    if (!stage.skipped) ids.push_back(stage.id);
  }
  return ids;
}

TEST_CASE("a recipe runs from a checkpoint and texts to a model.pt that meets its goals") {
  const TinyRun tiny;
  const auto report = tiny.run();
  REQUIRE(report.stages.size() == 6);
  CHECK(report.split == "test");
  CHECK(report.met());
  const auto& teacher = report.stages.front();
  const auto& shipped = report.stages.back();
  CHECK(teacher.value() > 0.8);
  CHECK(shipped.value() > 0.7);
  CHECK(shipped.reached.total == 50);
  CHECK(2 * shipped.macs < teacher.macs);
  CHECK(shipped.parameters < teacher.parameters);
  CHECK(shipped.latency.value().median_ms > 0);

  for (const auto& stage : report.stages) {
    const auto folder = tiny.root / ("runs/" + stage.id);
    const auto manifest = read_json_file(folder / "compress.json");
    CHECK(manifest.at("format") == 1);
    CHECK(manifest.at("metrics").at("test").at("correct") == stage.reached.correct);
    CHECK(fs::exists(folder / "vocab.txt"));
    CHECK(fs::exists(folder / "config.json"));
  }
  CHECK(fs::exists(tiny.root / "runs/pruned/importance.json"));
  CHECK(fs::exists(tiny.root / "runs/pruned/importance.svg"));
  CHECK(fs::exists(tiny.root / "runs/shipped/model.pt"));

  const auto json = read_json_file(tiny.root / "runs/report.json");
  for (const auto* key : {"id", "accuracy", "parameters", "macs", "bytes", "latency_ms", "throughput"}) {
    CHECK(json.at("stages").at(5).contains(key));
  }
  CHECK_THAT(read_file(tiny.root / "runs/report.md"),
             Catch::Contains("| shipped |") && Catch::Contains("(pruned/importance.svg)"));

  SECTION("a second run skips everything and keeps the figures") {
    const auto again = tiny.run();
    CHECK(stages_run(again).empty());
    CHECK(again.stages.back().reached.correct == shipped.reached.correct);
    CHECK(again.stages.back().latency.value().median_ms == Approx(shipped.latency.value().median_ms));
    for (size_t i = 0; i < again.stages.size(); ++i) {
      CHECK(report.stages[i].peak_memory.value() > 1 << 20);
      CHECK(again.stages[i].peak_memory == report.stages[i].peak_memory);
    }
  }
  SECTION("a changed setting runs its stage and what depends on it") {
    const auto again = tiny.run({"stages.recovered.distill.epochs=2"});
    CHECK((stages_run(again) == std::vector<std::string>{"recovered", "int8", "shipped"}));
  }
  SECTION("a goal does not run anything again, and missing it keeps all stages") {
    const auto again = tiny.run({"goals.size.max=1kB"});
    CHECK(stages_run(again).empty());
    CHECK_FALSE(again.met());
    CHECK(fs::exists(tiny.root / "runs/shipped/model.pt"));
  }
  SECTION("a damaged stage is made again, to the same bytes") {
    const auto file = tiny.root / "runs/pruned/model.safetensors";
    const auto whole = read_file(file);
    write_file(file, whole.substr(0, whole.size() / 2));
    CHECK((stages_run(tiny.run()) == std::vector<std::string>{"pruned"}));
    CHECK(read_file(file) == whole);
  }
  SECTION("a changed text runs everything again") {
    write_texts(tiny.root / "train.jsonl", 95, 1);
    CHECK(stages_run(tiny.run()).size() == 6);
  }
  SECTION("any stage's folder and the model.pt alone give the report's accuracy") {
    for (const auto& stage : report.stages) {
      const auto folder = tiny.root / ("runs/" + stage.id);
      const auto model = open_model(stage.kind == "export" ? folder / "model.pt" : folder);
      CHECK(model.max_length == 20);
      CHECK(model.config->labels == std::vector<std::string>{"article", "conjunction", "preposition"});
    }
  }
}

TEST_CASE("goals count from a folder too, which has a row of its own in table and picture") {
  const TinyRun tiny;
  tiny.run();
  const auto given = (tiny.root / "given").string();
  fs::rename(tiny.root / "runs/teacher", given);
  fs::remove_all(tiny.root / "runs");
  const auto run = [&](const std::string& goals) {
    return tiny.run({"stages=[{id: int8, quantize: {of: " + given + "}}]", "goals=" + goals});
  };
  const auto report = run("{accuracy: {relative_to: " + given + ", max_drop: 0.3}, macs: {relative_to: " + given +
                          ", min_reduction: 1}}");
  REQUIRE(report.references.size() == 1);
  const auto& folder = report.references.front();
  CHECK(folder.id == given);
  CHECK(folder.value() > 0.8);
  CHECK(folder.reached.total == 50);
  CHECK(folder.validation > 0.8);
  CHECK(folder.bytes == static_cast<int64_t>(fs::file_size(given + "/model.safetensors")));
  CHECK(folder.latency.value().median_ms > 0);
  CHECK(report.baseline == given);
  REQUIRE(report.goals.size() == 2);
  CHECK(report.goals[0].met);
  CHECK(report.goals[0].wanted == "at most 30.00 points below " + given);
  CHECK(report.goals[1].met);
  CHECK(report.goals[1].reached == "1.00 times fewer");
  CHECK_FALSE(check_goals({.macs = MacsGoal{.relative_to = {given}, .min_reduction = 2}}, report).front().met);
  const auto json = read_json_file(tiny.root / "runs/report.json");
  CHECK(json.at("references").at(0).at("accuracy") == folder.value());
  CHECK(json.at("stages").at(0).at("accuracy_drop").get<double>() ==
        Approx(folder.value() - report.stages.front().value()));
  CHECK_THAT(read_file(tiny.root / "runs/report.md"), Catch::Contains("| " + given + " | model | "));
  CHECK(report.stages.front().bytes < folder.bytes);

  const auto again = run("{accuracy: {relative_to: " + given + ", max_drop: 0.3}}");
  CHECK(again.references.front().skipped);  // nothing is computed twice
  CHECK(again.references.front().reached.correct == folder.reached.correct);
  CHECK(again.references.front().latency.value().median_ms == Approx(folder.latency.value().median_ms));

  // A folder without a head for the task has a size and a cost.
  const auto encoder = golden("sentence/model").string();
  const auto macs = tiny.run({"stages=[{id: cut, prune: {of: " + given + ", macs_reduction: 1.5, score_examples: 64}}]",
                              "goals={macs: {relative_to: " + encoder + ", min_reduction: 1}}"});
  CHECK(std::isnan(macs.references.front().value()));
  CHECK(macs.references.front().macs > 0);
  CHECK_THAT(read_file(tiny.root / "runs/report.md"),
             Catch::Contains("| " + encoder + " | model | none | not known |"));
  CHECK(read_json_file(tiny.root / "runs/report.json").at("references").at(0).at("validation_accuracy").is_null());
}

TEST_CASE("static int8 is calibrated, smoothed, corrected, and shipped in the fused runtime") {
  const TinyRun tiny;
  auto recipe = tiny.recipe();
  auto& stages = recipe.stages;
  stages.erase(stages.begin() + 1, stages.end());
  stages.push_back({"int8", quantize::QuantizeConfig{.of = {"teacher"},
                                                     .scheme = quantize::Scheme::int8_static,
                                                     .max_drop = 0.2,
                                                     .calibration_examples = 64,
                                                     .smooth_quant = true,
                                                     .bias_correction = true}});
  stages.push_back({"shipped", exporter::ExportConfig{.of = {"int8"}, .runtime = exporter::Runtime::fused}});
  recipe.goals = {};
  auto context = quiet_context({});
  const auto report = run(recipe, context);
  CHECK(report.stages[2].value() > report.stages[0].value() - 0.1);
  CHECK(3 * report.stages[1].bytes < 2 * report.stages[0].bytes);
  const auto notes = read_json_file(tiny.root / "runs/int8/compress.json").at("notes");
  CHECK(notes.at("calibration_examples") == 64);
  CHECK(notes.at("smooth_quant").size() == 3);
  CHECK(notes.at("input_scales").at("observer") == "mse");
  CHECK(notes.at("input_scales").at("least") > 0.0);
  CHECK(notes.at("bias_correction").at("kept").is_boolean());
  CHECK(notes.at("trials").size() >= 1);
}

TEST_CASE(
    "a folder of fewer bits and its fused file reach the same to the last bit; a portable file's rounding is told") {
  const TinyRun tiny;
  auto recipe = tiny.recipe();
  auto& stages = recipe.stages;
  stages.erase(stages.begin() + 1, stages.end());
  using quantize::QuantizeConfig, quantize::Scheme, exporter::ExportConfig, exporter::Runtime;
  stages.push_back({"int8", QuantizeConfig{.of = {"teacher"}}});
  stages.push_back({"tensor", QuantizeConfig{.of = {"teacher"}, .activations = ActivationScheme::per_tensor}});
  stages.push_back({"half", QuantizeConfig{.of = {"teacher"}, .scheme = Scheme::bf16}});
  for (const auto* of : {"int8", "tensor", "half"}) {
    stages.push_back({std::string(of) + "_fused", ExportConfig{.of = {of}, .runtime = Runtime::fused}});
    stages.push_back({std::string(of) + "_portable", ExportConfig{.of = {of}}});
  }
  recipe.goals = {};
  auto context = quiet_context({});
  const auto report = run(recipe, context);
  const auto notes = [&](const std::string& id) {
    return read_json_file(tiny.root / "runs" / id / "compress.json").at("notes");
  };
  for (const auto* of : {"int8", "half"}) {
    INFO(of);
    const auto &folder = *report.find(of), &fused = *report.find(std::string(of) + "_fused");
    CHECK(fused.reached.loss == folder.reached.loss);
    CHECK(fused.validation == folder.validation);
    const auto parity = notes(std::string(of) + "_fused").at("parity");
    CHECK(parity.at("largest_difference") == 0.0);
    CHECK_FALSE(parity.contains("folder_accuracy"));
    CHECK(parity.at("libtorch_difference") > 0.0);
    CHECK(parity.at("libtorch_difference") < 0.1);
  }
  CHECK(notes("tensor_fused").at("parity").at("largest_difference") == 0.0);
  const auto config = read_json_file(tiny.root / "runs/tensor_fused/config.json");
  CHECK(config.at("/quantization_config/config_groups/group_0/input_activations/strategy"_json_pointer) == "token");
  for (const auto* id : {"int8_portable", "tensor_portable", "half_portable", "tensor_fused"}) {
    INFO(id);
    const auto parity = notes(id).at("parity");
    CHECK(parity.at("largest_difference") < 1e-4);
    const auto& folder = *report.find(std::string(id).substr(0, std::string(id).find('_')));
    CHECK(parity.at("folder_accuracy") == folder.value());
    const bool told = std::ranges::any_of(report.warnings, [&](const std::string& warning) {
      return warning.starts_with(fmt::format("`{}`: model.pt: accuracy", id));
    });
    CHECK(told == (parity.at("file_accuracy") != parity.at("folder_accuracy")));
  }
}

TEST_CASE("what fewer bits cost is told from half a point on, against the float stage, and once") {
  Recipe recipe;
  using quantize::QuantizeConfig, exporter::ExportConfig;
  recipe.stages = {{"teacher", FinetuneConfig{}},
                   {"int8", QuantizeConfig{.of = {"teacher"}}},
                   {"shipped", ExportConfig{.of = {"int8"}}}};
  const auto told = [&](Metric metric, std::vector<double> values,
                        const nlohmann::json& manifest = nlohmann::json::object()) {
    Report report{.metric = metric};
    for (size_t i = 0; i < values.size(); ++i) {
      StageReport stage;
      stage.id = recipe.stages[i].id;
      stage.reached = {.metric = metric, .values = {{metric, values[i]}}, .total = 100};
      report.stages.push_back(stage);
    }
    return quality_warnings(recipe, report, manifest);
  };
  CHECK(told(Metric::accuracy, {0.8913}).empty());
  CHECK(told(Metric::accuracy, {0.8913, 0.8902}).empty());
  CHECK(told(Metric::accuracy, {0.89, 0.88}) ==
        std::vector<std::string>{
            "`int8`: accuracy 88.00 %, 1.00 points below `teacher`, whose weights it has in fewer bits."});
  CHECK(told(Metric::accuracy, {0.89, 0.90}).empty());
  CHECK(told(Metric::accuracy, {0.89, 0.88, 0.88}).empty());
  CHECK(told(Metric::accuracy, {0.89, 0.88, 0.87})
            .front()
            .starts_with("`shipped`: accuracy 87.00 %, 2.00 points below `teacher`"));
  CHECK(told(Metric::mse, {2.00, 2.005}).empty());
  CHECK(told(Metric::mse, {2.00, 2.13}).front().starts_with("`int8`: mse 2.13, 0.13 above `teacher`"));
  CHECK(told(Metric::mse, {2.00, 1.50}).empty());
  CHECK(told(Metric::accuracy, {0.9, 0.9}, {{"notes", {{"warnings", {"model.pt: odd."}}}}}) ==
        std::vector<std::string>{"`int8`: model.pt: odd."});
}

TEST_CASE("a stage that is no faster than the float one that it goes back to says why, and what is") {
  using quantize::QuantizeConfig, exporter::ExportConfig, exporter::Runtime;
  Recipe recipe;
  recipe.stages = {{"teacher", FinetuneConfig{}},
                   {"int8", QuantizeConfig{.of = {"teacher"}}},
                   {"portable", ExportConfig{.of = {"int8"}}},
                   {"shipped", ExportConfig{.of = {"int8"}, .runtime = Runtime::fused}},
                   {"half", QuantizeConfig{.of = {"teacher"}, .scheme = quantize::Scheme::fp16}}};
  Report report;
  const auto add = [&](size_t stage, double one, double many) {
    report.stages.push_back(
        {.id = recipe.stages[stage].id, .latency = Timing{.median_ms = one}, .throughput = Timing{.median_ms = many}});
  };
  add(0, 3.0, 60.0);
  add(1, 1.0, 30.0);
  add(2, 2.9, 61.0);
  add(4, 3.1, 40.0);  // faster for many
  add(3, 0.6, 20.0);
  CHECK(speed_warnings(recipe, report) ==
        std::vector<std::string>{
            "`portable` is no faster here than `teacher` (one text 2.90 ms, 3.00 before): it runs LibTorch's "
            "operators, and export: {runtime: fused} does not; `shipped` takes 0.60 ms."});
  report.stages[3].throughput->median_ms = 60.0;
  report.stages.pop_back();
  const auto told = speed_warnings(recipe, report);
  REQUIRE(told.size() == 2);
  CHECK(told[1].starts_with(
      "`half` is no faster here than `teacher` (one text 3.10 ms, 3.00 before): weights of 16 bits"));
  CHECK(told[1].ends_with("; `int8` takes 1.00 ms."));
  report.stages[2].latency.reset();
  CHECK(speed_warnings(recipe, report).size() == 1);
}

TEST_CASE("a vocabulary is cut to the training texts, and the model answers as before") {
  const TinyRun tiny;
  auto recipe = tiny.recipe();
  auto& stages = recipe.stages;
  stages.erase(stages.begin() + 1, stages.end());
  stages.push_back({"cut", prune::VocabularyConfig{.of = {"teacher"}}});
  stages.push_back({"wide", prune::VocabularyConfig{.of = {"teacher"}, .common = 61}});
  stages.push_back({"int8", quantize::QuantizeConfig{.of = {"cut"}}});
  stages.push_back({"shipped", exporter::ExportConfig{.of = {"int8"}}});
  recipe.goals = {};
  auto context = quiet_context({});
  const auto report = run(recipe, context);
  const auto &teacher = report.stages[0], &cut = report.stages[1];
  CHECK(cut.reached.correct == teacher.reached.correct);
  CHECK(cut.parameters < teacher.parameters);
  CHECK(cut.bytes < teacher.bytes);
  CHECK(cut.parameters < report.stages[2].parameters);
  CHECK(report.stages[2].parameters < teacher.parameters);
  const auto folder = tiny.root / "runs/cut";
  const auto vocabulary = read_file(folder / "vocab.txt");
  const auto tokens = std::count(vocabulary.begin(), vocabulary.end(), '\n');
  CHECK(read_json_file(folder / "config.json").at("vocab_size") == tokens);
  CHECK(read_json_file(folder / "compress.json").at("notes").at("tokens") == tokens);
  CHECK_FALSE(fs::exists(folder / "trimmed"));
}

TEST_CASE("hidden dimensions are pruned, and the narrow model learns from two teachers by losses of their own") {
  const TinyRun tiny;
  auto recipe = tiny.recipe();
  auto& stages = recipe.stages;
  stages.erase(stages.begin() + 1, stages.end());
  stages.push_back({"other", stages[0].config});
  stages.push_back({"narrow", prune::PruneConfig{.of = {"teacher"}, .budget = {.heads = 2, .hidden_size = 16}}});
  const auto losses = [](distill::LossType type) { return std::vector<distill::LossConfig>{{.type = type}}; };
  distill::DistillConfig again{.student = {.from = {"narrow"}},
                               .train = {.epochs = 8, .learning_rate = 2e-3, .precision = Precision::int16}};
  again.teachers = {{.model = {"teacher"}, .losses = losses(distill::LossType::hidden_states)},
                    {.model = {"other"}, .weight = 2.0, .losses = losses(distill::LossType::logits)}};
  stages.push_back({"recovered", again});
  recipe.goals = {};
  auto context = quiet_context({});
  const auto report = recipes::run(recipe, context);
  CHECK(report.stages[3].reached.value() > report.stages[2].reached.value());
  const auto folder = tiny.root / "runs/narrow";
  CHECK(read_json_file(folder / "config.json").at("hidden_size") == 16);
  CHECK(read_json_file(folder / "importance.json").at("hidden").at("kept").size() == 16);
  CHECK(read_json_file(folder / "compress.json").at("notes").at("hidden_size") == 16);
  auto too_many = tiny.recipe();
  too_many.stages[2].config = prune::PruneConfig{.of = {"student"}, .budget = {.hidden_size = 64}};
  CHECK_THAT(message_of<ConfigError>([&] { recipes::run(too_many, context); }),
             Catch::Contains("prune.hidden_size: found 64, but the hidden size of `student` is 32"));
}

TEST_CASE("a run that is stopped keeps its finished stages and goes on from there") {
  const TinyRun tiny;
  auto context = quiet_context({});
  std::atomic<bool> stop{false};
  context.stop = &stop;
  context.progress = [&](int64_t, int64_t, std::string_view text) {
    if (text == "scoring") stop = true;  // in the middle of the third stage
  };
  CHECK_THROWS_AS(recipes::run(tiny.recipe(), context), Interrupted);
  CHECK(fs::exists(tiny.root / "runs/student/model.safetensors"));
  for (const auto& entry : fs::directory_iterator(tiny.root / "runs")) {
    CHECK_FALSE(entry.path().filename().string().ends_with(".tmp"));
  }
  CHECK_FALSE(fs::exists(tiny.root / "runs/pruned"));
  CHECK((stages_run(tiny.run()) == std::vector<std::string>{"pruned", "recovered", "int8", "shipped"}));
}

/// A run of the tiny recipe in which `meddle` is called when the stage that reports `text` is at work.
template <class E>
std::string message_of_meddled_run(const TinyRun& tiny, std::string_view at, const std::function<void()>& meddle) {
  auto context = quiet_context({});
  bool done = false;
  context.progress = [&](int64_t, int64_t, std::string_view text) {
    if (!done && text.starts_with(at)) meddle();
    done = done || text.starts_with(at);
  };
  return message_of<E>([&] { recipes::run(tiny.recipe(), context); });
}

TEST_CASE("an input that changes during a run is told by name, and the stage is not put in place") {
  const TinyRun tiny;
  SECTION("the texts, while the first stage trains") {
    const auto message =
        message_of_meddled_run<DataError>(tiny, "loss", [&] { write_texts(tiny.root / "train.jsonl", 95, 9); });
    CHECK_THAT(message, Catch::Contains("train.jsonl: changed while the run was at work"));
    CHECK_FALSE(fs::exists(tiny.root / "runs/teacher"));
  }
  SECTION("an earlier stage's folder, while a later one is at work") {
    const auto message = message_of_meddled_run<DataError>(
        tiny, "scoring", [&] { std::ofstream(tiny.root / "runs/student/model.safetensors", std::ios::app) << "x"; });
    CHECK_THAT(message, Catch::Contains("student/model.safetensors: changed while"));
    CHECK(fs::exists(tiny.root / "runs/student"));
    CHECK_FALSE(fs::exists(tiny.root / "runs/pruned"));
  }
  SECTION("touched, with the same texts: nothing") {
    auto context = quiet_context({});
    context.progress = [&](int64_t, int64_t, std::string_view text) {
      if (text == "scoring") write_texts(tiny.root / "train.jsonl", 96, 1);
    };
    CHECK_NOTHROW(recipes::run(tiny.recipe(), context));
  }
}

TEST_CASE("a second run in the folder is refused while the first is at work") {
  const TinyRun tiny;
  std::string message;
  auto context = quiet_context({});
  context.progress = [&](int64_t, int64_t, std::string_view text) {
    if (message.empty() && text == "scoring") message = message_of<StorageError>([&] { tiny.run(); });
  };
  recipes::run(tiny.recipe(), context);
  CHECK_THAT(message, Catch::Contains("another run is at work"));
}

TEST_CASE("what kills leave around finished stages is put right, and nothing is made again") {
  const TinyRun tiny;
  tiny.run();
  const auto runs = tiny.root / "runs";
  fs::rename(runs / "student", runs / ".student.old");  // between the two renames of a replacement
  fs::create_directories(runs / ".student.tmp");
  write_file(runs / ".student.tmp/half", "");
  write_file(runs / ".student.tmp/.compress-unfinished", "");
  write_file(runs / "teacher/.compress-unfinished", "");  // before it was taken away
  fs::create_directories(runs / ".pruned.tmp");           // after the folders changed places
  fs::create_directories(runs / ".recovered.resume");     // after the folder was put in place
  write_file(runs / ".recovered.resume/state-1.safetensors.partial", "");
  write_file(runs / "report.json.partial", "{");
  CHECK(stages_run(tiny.run()).empty());
  std::vector<std::string> hidden;
  for (const auto& entry : fs::directory_iterator(runs)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with(".") || name.ends_with(".partial")) hidden.push_back(name);
  }
  CHECK(hidden == std::vector<std::string>{".lock"});
  CHECK_FALSE(fs::exists(runs / "teacher/.compress-unfinished"));
}

TEST_CASE("a training that went back is in the report") {
  const TinyRun tiny;
  tiny.run();
  const auto file = tiny.root / "runs/teacher/compress.json";
  auto manifest = read_json_file(file);
  CHECK(manifest.at("notes").at("training").at("rollbacks").empty());
  CHECK_THAT(read_file(tiny.root / "runs/report.md"), !Catch::Contains("went back"));
  manifest["notes"]["training"]["rollbacks"] = nlohmann::json::array({{{"step", 12},
                                                                       {"reason", "the loss is nan"},
                                                                       {"loss", nullptr},
                                                                       {"median", 0.5},
                                                                       {"back_to", 6},
                                                                       {"learning_rate_factor", 0.5}}});
  write_file(file, manifest.dump());
  const auto report = tiny.run();
  CHECK(report_json(report).at("stages").at(0).at("rollbacks") == manifest["notes"]["training"]["rollbacks"]);
  CHECK_THAT(
      read_file(tiny.root / "runs/report.md"),
      Catch::Contains("- `teacher`: at step 12 the loss is nan (median before 0.5): back to step 6, with 0.5 times"));
}

TEST_CASE("plan tells what a run would do") {
  const TinyRun tiny;
  const auto plan_of = [](const Recipe& recipe) {
    return plan(recipe, TaskData(recipe.task, recipe.data, recipe.model.path));
  };
  auto stages = plan_of(tiny.recipe());
  REQUIRE(stages.size() == 6);
  CHECK_FALSE(stages[0].up_to_date);
  CHECK(stages[0].reason == "not run yet");
  tiny.run();
  for (const auto& stage : plan_of(tiny.recipe())) CHECK(stage.up_to_date);
  stages = plan_of(tiny.recipe({"stages.student.distill.epochs=1"}));
  CHECK(stages[0].up_to_date);
  CHECK_FALSE(stages[1].up_to_date);
  CHECK(stages[1].reason == "its settings or inputs have changed");
}

TEST_CASE("labels of the test texts that training does not have are told with file and line") {
  const TinyRun tiny;
  write_file(tiny.root / "test.jsonl",
             "{\"text\": \"the\", \"label\": \"article\"}\n{\"text\": \"to\", \"label\": \"infinitive\"}\n");
  CHECK_THAT(message_of<DataError>([&] { tiny.run(); }),
             Catch::Contains("test.jsonl:2") && Catch::Contains("infinitive"));
  CHECK_FALSE(fs::exists(tiny.root / "runs/teacher"));
}

TEST_CASE("labels count by their classes' weights, whose names are checked before anything runs") {
  const TinyRun tiny;
  const auto weights = [&](const std::string& settings) {
    const auto recipe = tiny.recipe({"stages=[{id: teacher, finetune: {epochs: 1, " + settings + "}}]", "goals={}"});
    auto context = quiet_context({});
    run(recipe, context);
    return read_json_file(recipe.output / "teacher" / "compress.json").at("/notes/class_weights"_json_pointer);
  };
  const auto given = weights("label_weights: {Article: 2.5}");
  CHECK(given == nlohmann::json{{"article", 2.5}, {"conjunction", 1.0}, {"preposition", 1.0}});
  const auto balanced = weights("class_weights: balanced"),
             both = weights("class_weights: balanced, label_weights: {preposition: 4}");
  CHECK(balanced.at("article") != balanced.at("preposition"));
  CHECK(both.at("article") == balanced.at("article"));
  CHECK(both.at("preposition").get<double>() == Approx(4 * balanced.at("preposition").get<double>()));
}

TEST_CASE("what only the data rules out is told with line or option and key, and leaves no folder") {
  const TinyRun tiny;
  const auto refused = [&](const std::vector<std::string>& overrides) {
    auto context = quiet_context({});
    const auto recipe = tiny.recipe(overrides);
    const auto message = message_of<ConfigError>([&] { run(recipe, context); });
    CHECK_FALSE(fs::exists(recipe.output));
    return message;
  };
  CHECK_THAT(
      refused({"stages.teacher.finetune.label_weights={artcle: 2}"}),
      Catch::StartsWith("--set stages.teacher.finetune.label_weights={artcle: 2}: stages[0].finetune.label_weights: "
                        "found \"artcle\", which is none of the 3 classes; expected one of article, "
                        "conjunction, preposition"));
  CHECK_THAT(refused({"task.metric=f1"}), Catch::StartsWith("--set task.metric=f1: task.metric: "));
}

TEST_CASE("what only a stage finds wrong with its settings is told with their place") {
  const TinyRun tiny;
  CHECK_THAT(message_of<ConfigError>([&] {
               tiny.run(
                   {"stages=[{id: teacher, finetune: {epochs: 1}}, {id: cut, prune: {of: teacher, score_examples: "
                    "16, latency_reduction: 1000}}]",
                    "goals={}"});
             }),
             Catch::StartsWith("--set stages=[") && Catch::Contains(": stages[1].prune: the budget leaves 0.0 %"));
}

TEST_CASE("distillation learns from texts without labels too") {
  const TinyRun tiny;
  std::string text;
  for (int i = 0; i < 40; ++i) text += nlohmann::json{{"text", i % 2 ? "the the of" : "and the and and"}}.dump() + "\n";
  write_file(tiny.root / "unlabelled.jsonl", text);
  const auto file = "data.unlabelled={path: " + (tiny.root / "unlabelled.jsonl").string() + "}";
  auto recipe = tiny.recipe({file});

  const TaskData data(recipe.task, recipe.data);
  const auto tokenizer = load_tokenizer(golden("model/tiny"));
  CHECK(data.batches(Split::train, *tokenizer, {})->size() == 96);
  const auto both = data.batches(Split::train, *tokenizer, {.unlabelled = true});
  REQUIRE(both->size() == 136);
  const auto batch = both->collate(std::vector<int64_t>{95, 96, 135});
  CHECK(batch.labels()[0].item<int64_t>() >= 0);
  CHECK(batch.labels().slice(0, 1).eq(ignored_label).all().item<bool>());
  CHECK(data.fingerprint() != TaskData(recipe.task, tiny.recipe().data).fingerprint());

  recipe.stages.resize(2);
  recipe.goals = {};
  auto context = quiet_context({});
  const auto report = run(recipe, context);
  CHECK(report.stages[1].value() > 0.5);
  const auto steps = read_json_file(recipe.output / "student" / "compress.json").at("notes").at("training").at("steps");
  CHECK(steps == 3 * 5);  // 136 texts in batches of 32

  CHECK_THROWS_WITH(tiny.recipe({file, "task={type: regression}"}),
                    Catch::Contains("data.unlabelled: found with task regression, expected classification"));
}

}  // namespace
}  // namespace compression::recipes
