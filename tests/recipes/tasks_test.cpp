// Every task through every stage, by recipes on the tiny model.
#include <spdlog/sinks/ostream_sink.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "datasets/examples.h"
#include "export/script.h"
#include "recipes/load.h"
#include "recipes/run.h"
#include "recipes/runnable.h"
#include "recipes/task_data.h"
#include "tests/support.h"

namespace compression::recipes {
namespace {

using namespace testing;
using nlohmann::json;
namespace fs = std::filesystem;

const std::vector<std::string> words = {"the", "and", "of"};

/// Eight words, of which one is most.
std::string text_about(size_t word, std::mt19937_64& random) {
  std::string text;
  for (int w = 0; w < 8; ++w) text += words[random() % 4 == 0 ? random() % 3 : word] + " ";
  return text;
}

/// One line of a task's data, that the tiny model can learn from.
json example(TaskType task, std::mt19937_64& random) {
  const auto word = random() % 3;
  switch (task) {
    case TaskType::classification:
      return {{"text", text_about(word, random)}, {"label", word == 0 ? "article" : "other"}};
    case TaskType::regression: {
      std::string text;
      const auto of_eight = random() % 9;
      for (size_t w = 0; w < 8; ++w) text += w < of_eight ? "the " : "of ";
      return {{"text", text}, {"label", static_cast<double>(of_eight) / 4.0 - 1.0}};
    }
    case TaskType::multi_label: {
      json labels = json::array();
      std::string text = "it ";
      for (const auto& each : words) {
        if (random() % 2 == 0) continue;
        text += each + " " + each + " ";
        labels.push_back(each);
      }
      return {{"text", text}, {"label", labels}};
    }
    case TaskType::embedding: {
      const auto other = random() % 2 == 0 ? word : (word + 1) % 3;
      return {{"text", text_about(word, random)},
              {"text_pair", text_about(other, random)},
              {"label", word == other ? 1 : 0.1}};
    }
    case TaskType::token_classification: {
      json tokens = json::array(), tags = json::array();
      for (int w = 0; w < 6; ++w) {
        const auto entity = random() % 3 == 0;
        tokens.push_back(entity ? "the" : random() % 2 == 0 ? "of" : "abc");  // abc is three pieces
        tags.push_back(entity ? "B-X" : "O");
        if (!entity || random() % 2 == 0) continue;
        tokens.push_back("and");
        tags.push_back("I-X");
      }
      return {{"tokens", tokens}, {"tags", tags}};
    }
    case TaskType::question_answering: {
      const auto length = 5 + random() % 30, at = random() % length;  // some contexts are longer than a window
      std::string context;
      size_t begin = 0;
      for (size_t w = 0; w < length; ++w) {
        if (w == at) begin = context.size();
        context += (w == at ? "is" : words[random() % 3]) + " ";
      }
      return {{"question", "to it"}, {"context", context}, {"answers", {{"text", {"is"}}, {"answer_start", {begin}}}}};
    }
    case TaskType::masked_lm: {
      std::string text;
      for (int w = 0; w < 12; ++w) text += words[word] + " ";
      return {{"text", text}};
    }
  }
  throw std::logic_error("task");
}

/// Of question answering: takes the answer out of the context.
json without_answer(json question) {
  auto context = question.at("context").get<std::string>();
  context.replace(question.at("/answers/answer_start/0"_json_pointer), 2, "of");
  question["context"] = context;
  question["answers"] = json::array();
  return question;
}

/// `unanswerable`: of question answering, each third question has no answer.
void write_examples(const fs::path& file, TaskType task, int count, uint64_t seed, bool unanswerable) {
  std::mt19937_64 random(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    const auto own = example(task, random);
    text += (unanswerable && i % 3 == 0 ? without_answer(own) : own).dump() + "\n";
  }
  write_file(file, text);
}

struct TaskRun {
  TemporaryFolder root;
  TaskType task;

  explicit TaskRun(TaskType type, bool unanswerable = false) : task(type) {
    write_examples(root / "train.jsonl", task, 128, 1, unanswerable);
    write_examples(root / "validation.jsonl", task, 40, 2, unanswerable);
    write_examples(root / "test.jsonl", task, 40, 3, unanswerable);
  }

  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    const auto file = [&](const char* name) { return (root / name).string(); };
    return parse_recipe(fmt::format(R"(
version: 1
name: tiny
seed: 3
output: {}
model: {{path: {}}}
task: {{type: {}}}
data:
  max_length: 24
  train: {{path: {}}}
  validation: {{path: {}}}
  test: {{path: {}}}
stages:
  - id: teacher
    finetune: {{epochs: 6, learning_rate: 2.0e-3, batch_size: 16, precision: int16}}
  - id: student
    distill:
      teacher: teacher
      student: {{from: teacher, layers: [0, 2]}}
      losses: [{{type: logits}}, {{type: labels, weight: 0.2}}, {{type: hidden_states, weight: 0.1}}]
      epochs: 4
      learning_rate: 2.0e-3
      precision: int16
  - id: pruned
    prune: {{of: student, heads: 2, intermediate_size: 24}}
  - id: recovered
    distill: {{teacher: teacher, student: {{from: pruned}}, epochs: 3, learning_rate: 2.0e-3, precision: int16}}
  - id: int8
    quantize: {{of: recovered, scheme: int8_dynamic}}
  - id: shipped
    export: {{of: int8}}
)",
                                    (root / "runs").string(), golden("model/tiny").string(), enum_name(task),
                                    file("train.jsonl"), file("validation.jsonl"), file("test.jsonl")),
                        "tiny.yaml", overrides);
  }

  Report run(const std::vector<std::string>& overrides = {}) const {
    auto context = quiet_context({});
    return recipes::run(recipe(overrides), context);
  }
};

/// Runs all stages. `least`: of the teacher's metric; `lost`: how much the shipped file may be below it.
void check_stages(const TaskRun& tiny, double least, double lost, const std::vector<std::string>& overrides = {}) {
  const auto type = tiny.task;
  const auto report = tiny.run(overrides);
  REQUIRE(report.stages.size() == 6);
  for (const auto& stage : report.stages) {
    INFO(stage.id << ": " << describe(stage.reached));
    const auto worse = report.drop(stage, report.stages.front());
    if (stage.id != "pruned") CHECK(worse <= lost);
    // What was written gives the figures of the report again.
    const auto model = open_model(tiny.root / ("runs/" + stage.id));
    CHECK(model.config->task == type);
    const TaskData data(tiny.recipe(overrides).task, tiny.recipe(overrides).data);
    const auto again =
        evaluate(model.logits, *data.batches(Split::test, *model.tokenizer, {.threshold = model.answers.threshold}),
                 quiet_context({}));
    CHECK((again.values == stage.reached.values));
    CHECK(again.threshold == stage.reached.threshold);
    CHECK(again.loss == stage.reached.loss);
  }
  const auto& teacher = report.stages.front();
  INFO("teacher: " << describe(teacher.reached));
  CHECK((higher_is_better(report.metric) ? teacher.value() >= least : teacher.value() <= least));
  CHECK(2 * report.stages.back().macs < teacher.macs * 3 / 2);
  const auto manifest = read_json_file(tiny.root / "runs/shipped/compress.json");
  CHECK(manifest.at("notes").at("parity").at("largest_difference") < 1e-3);
  CHECK(manifest.at("metrics").at("test").at("metric") == enum_name(report.metric));
  const auto json = read_json_file(tiny.root / "runs/report.json");
  CHECK(json.at("metric") == enum_name(report.metric));
  CHECK(json.at("stages").at(0).at(std::string(enum_name(report.metric))) == Approx(teacher.value()));
}

void check_stages(TaskType type, double least, double lost, const std::vector<std::string>& overrides = {}) {
  check_stages(TaskRun(type), least, lost, overrides);
}

TEST_CASE("classification by another metric goes through every stage") {
  check_stages(TaskType::classification, 0.7, 0.3, {"task.metric=matthews"});
}

TEST_CASE("regression goes through every stage") {
  check_stages(TaskType::regression, 0.9, 0.1);
}

TEST_CASE("multi-label classification goes through every stage") {
  check_stages(TaskType::multi_label, 0.9, 0.15, {"stages.teacher.finetune.epochs=16"});
}

TEST_CASE("sentence embedding goes through every stage") {
  check_stages(TaskType::embedding, 0.5, 0.2);
}

TEST_CASE("token classification goes through every stage") {
  check_stages(TaskType::token_classification, 0.9, 0.15);
}

TEST_CASE("question answering goes through every stage") {
  check_stages(TaskType::question_answering, 0.9, 0.2, {"data.stride=4"});
}

TEST_CASE("questions that may have no answer go through every stage, with a threshold from the validation texts") {
  const TaskRun tiny(TaskType::question_answering, /*unanswerable=*/true);
  check_stages(tiny, 0.8, 0.25, {"data.stride=4", "data.answers={unanswerable: true, longest: 3}"});
  const auto manifest = read_json_file(tiny.root / "runs/shipped/compress.json");
  const auto& [validation, test] =
      std::pair(manifest.at("/metrics/validation"_json_pointer), manifest.at("/metrics/test"_json_pointer));
  CHECK(test.at("threshold") == validation.at("threshold"));
  CHECK(test.at("no_answer_accuracy") >= 0.7);
  const auto answers = open_model(tiny.root / "runs/shipped").answers;
  CHECK(answers.unanswerable);
  CHECK(answers.threshold == validation.at("threshold").get<double>());
  CHECK(answers.longest == 3);

  CHECK_THROWS_WITH(TaskRun(TaskType::regression).recipe({"data.answers={n_best: 5}"}),
                    Catch::Contains("data.answers: found with task regression, expected question_answering with it"));

  // A threshold of the recipe's own holds everywhere; without `unanswerable` such questions are an error.
  const auto own =
      tiny.run({"stages=[{id: teacher, finetune: {epochs: 1}}]", "data.answers={unanswerable: true, threshold: 1.5}"});
  CHECK(own.stages.front().reached.threshold == 1.5);
  CHECK_THROWS_WITH(tiny.run(), Catch::Contains("train.jsonl:1: no answer, expected one or more"));
}

TEST_CASE("masked language modelling goes through every stage") {
  check_stages(TaskType::masked_lm, 4.0, 2.0);
}

TEST_CASE("what a teacher says is kept apart for the fused form and for LibTorch's operators") {
  const TaskRun tiny(TaskType::classification);
  tiny.run({"stages=[{id: teacher, finetune: {epochs: 1}}]"});
  const auto kept = [&](const char* fused) {
    tiny.run({fmt::format("output={}/{}", tiny.root.path().string(), fused),
              fmt::format("stages=[{{id: s, distill: {{teacher: {0}/runs/teacher, student: {{from: {0}/runs/teacher}}, "
                          "teacher_cache: {{folder: {0}/cache}}, epochs: 1, fused: {1}}}}}]",
                          tiny.root.path().string(), fused)});
    return std::ranges::count_if(fs::directory_iterator(tiny.root / "cache"), [](const fs::directory_entry& entry) {
      return entry.path().extension() == ".safetensors";
    });
  };
  CHECK(kept("true") == 1);
  CHECK(kept("false") == 2);
}

TEST_CASE("a vocabulary has every token of the texts for masked_lm, whichever are masked") {
  const TaskRun tiny(TaskType::masked_lm);
  auto texts = read_file(tiny.root / "train.jsonl");
  for (const auto* rare : {"in", "to", "is", "it"})
    texts += json{{"text", rare}}.dump() + "\n";  // masked, each of them
  write_file(tiny.root / "train.jsonl", texts);
  auto context = quiet_context({});
  auto recipe = tiny.recipe({"stages=[{id: teacher, finetune: {epochs: 1}}, {id: fewer, vocabulary: {of: teacher}}]"});
  recipes::run(recipe, context);
  const auto tokens = "\n" + read_file(tiny.root / "runs/fewer/vocab.txt");
  for (const auto* token : {"the", "and", "of", "in", "to", "is", "it"}) {
    CHECK_THAT(tokens, Catch::Contains(fmt::format("\n{}\n", token)));
  }
}

TEST_CASE("a metric that the task has not, or the labels do not allow, is told with those that fit") {
  const TaskRun tiny(TaskType::regression);
  CHECK(message_of<ConfigError>([&] { tiny.recipe({"task.metric=accuracy"}); }) ==
        "--set task.metric=accuracy: task.metric: found accuracy, which regression has not; expected one of pearson, "
        "spearman, mse");
  CHECK(message_of<ConfigError>([&] {
          tiny.recipe({"task.metric=mse", "goals={accuracy: {min: 0.5}}"});
        }).find("goals.accuracy.min: set, but less is better of the task's metric") != std::string::npos);
  const TaskRun tokens(TaskType::token_classification);
  write_file(tokens.root / "train.jsonl", R"({"tokens": ["the", "of"], "tags": ["DET", "O"]})");
  const auto recipe = tokens.recipe({"task.metric=entity_f1"});
  CHECK_THAT(
      message_of<ConfigError>([&] { read_data(recipe); }),
      Catch::Contains(
          "task.metric: found entity_f1, but it needs tags O, B-TYPE, I-TYPE, E-TYPE and S-TYPE, and there is DET"));
}

TEST_CASE("max_drop of a metric of which less is better may be more than 1, of others not") {
  const TaskRun tiny(TaskType::regression);
  const std::string seven = "stages.int8.quantize.max_drop=7";
  CHECK_NOTHROW(tiny.recipe({"task.metric=mse", seven}));
  CHECK_THAT(message_of<ConfigError>([&] { tiny.recipe({seven}); }),
             Catch::Contains("quantize.max_drop: found 7, expected from 0 to 1"));
}

TEST_CASE("empty lines among the texts of masked language modelling are left out, and counted in a line") {
  const TaskRun tiny(TaskType::masked_lm);
  std::string text, blank;
  for (int i = 0; i < 40; ++i)
    text += i % 2 ? R"({"text": ""})"
                    "\n"
                  : R"({"text": "the of and the"})"
                    "\n";
  for (int i = 0; i < 3; ++i)
    blank += R"({"text": " "})"
             "\n";
  write_file(tiny.root / "train.jsonl", text);
  write_file(tiny.root / "validation.jsonl", text);
  write_file(tiny.root / "test.jsonl", text);
  auto recipe = tiny.recipe({"stages.teacher.finetune={epochs: 2, batch_size: 2}"});
  recipe.stages.resize(1);
  std::ostringstream log;
  auto context = quiet_context({});
  context.logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  const auto report = recipes::run(recipe, context);
  CHECK(std::isfinite(report.stages[0].value()));
  CHECK(report.stages[0].reached.total > 0);
  CHECK_THAT(log.str(), Catch::Contains("20 of 40 texts are left out"));

  write_file(tiny.root / "validation.jsonl", blank);
  recipe.output = tiny.root / "other";
  CHECK_THAT(message_of<DataError>([&] { recipes::run(recipe, context); }),
             Catch::Contains("none of 3 texts has a token or label"));
  write_file(tiny.root / "train.jsonl", blank);
  CHECK_THAT(message_of<DataError>([&] { recipes::run(recipe, context); }), Catch::Contains("no text to train on"));
}

TEST_CASE("a state of training, and goals, are about the task's metric") {
  const TaskRun tiny(TaskType::regression);
  auto recipe = tiny.recipe({"task.metric=mse", "goals={accuracy: {relative_to: teacher, max_drop: 100}}"});
  recipe.stages.resize(2);
  auto context = quiet_context({});
  const auto report = recipes::run(recipe, context);
  REQUIRE(report.goals.size() == 1);
  CHECK(report.goals[0].met);
  CHECK(report.goals[0].goal == "mse");
  const auto history = read_json_file(tiny.root / "runs/teacher/compress.json").at("notes").at("training");
  const auto best = history.at("best").get<size_t>();
  for (const auto& check : history.at("checks")) {
    CHECK(check.at("validation_mse") >= history.at("checks").at(best).at("validation_mse"));
  }
}

}  // namespace
}  // namespace compression::recipes
