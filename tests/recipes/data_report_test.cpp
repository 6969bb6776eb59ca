// What is told of the texts and labels of a recipe, and how labels meet the classes of its models.
#include "recipes/data_report.h"

#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/evaluate/instances.h"
#include "compress/state_dict/state_dict.h"
#include "recipes/load.h"
#include "recipes/run.h"
#include "recipes/write.h"
#include "tests/recipes/tiny_task.h"
#include "tests/support.h"

namespace compression::recipes {
namespace {

using namespace testing;
using Catch::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

/// A recipe whose files a test writes.
struct Data {
  TemporaryFolder root;
  std::string model = golden("model/tiny").string();
  std::string stages = "[{id: int8, quantize: {of: " + model + "}}]";
  std::string more = {};  // lines of `data`
  std::string task = "{type: classification}";

  void write(const std::string& file, const std::vector<std::pair<std::string, json>>& texts) const {
    std::string lines;
    for (const auto& [text, label] : texts) lines += json{{"text", text}, {"label", label}}.dump() + "\n";
    write_file(root / file, lines);
  }
  Recipe recipe() const {
    const auto text = fmt::format(R"(
version: 1
name: data
output: {0}/runs
model: {{path: {1}}}
task: {4}
data:
  max_length: 12
  train: {{path: {0}/train.jsonl}}
  validation: {{path: {0}/validation.jsonl}}
  {3}
stages: {2}
)",
                                  root.path().string(), model, stages, more, task);
    return parse_recipe(text, "data.yaml", {});
  }
  DataReport look() const {
    const auto own = recipe();
    return look_at(TaskData(own.task, own.data, own.model.path), own);
  }
};

bool has_warning(const DataReport& report, const std::string& part) {
  for (const auto& warning : report.warnings) {
    if (warning.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST_CASE("a class whose name a terminal would obey is told in words") {
  Data data;
  data.more = "test: {path: " + (data.root / "test.jsonl").string() + "}";
  data.write("train.jsonl", {{"the of", "\x1b[2J"}, {"and of", "b"}, {"of", "\u202ec"}});
  data.write("validation.jsonl", {{"and of", "b"}});
  data.write("test.jsonl", {{"the of", "b"}});
  const auto report = data.look();
  CHECK(has_warning(report, "2 of 3 classes are in no text: \"\\u001b[2J\", \"\\u202ec\""));
  for (const auto& line : data_lines(report)) CHECK(line.find_first_of("\x1b\x9b") == std::string::npos);
  auto recipe = data.recipe();
  recipe.name = "\u202e\u009b[2J";
  const auto yaml = to_yaml(recipe);
  CHECK(yaml.find(R"(name: "\u202e\u009b[2J")") != std::string::npos);
}

TEST_CASE("batches may be asked for in many threads at once, and texts are encoded once") {
  Data data;
  data.write("train.jsonl", {{"the of", "a"}, {"and of", "b"}, {"of", "a"}});
  data.write("validation.jsonl", {{"and of", "b"}});
  const auto recipe = data.recipe();
  const TaskData texts(recipe.task, recipe.data, recipe.model.path);
  const auto tokenizer = load_tokenizer(recipe.model.path);
  std::vector<Batch> found(8);
  run_instances(8, [&](int64_t i) {
    const std::vector<int64_t> all = {0, 1, 2};
    for (int again = 0; again < 20; ++again) {
      found[static_cast<size_t>(i)] = texts.batches(Split::train, *tokenizer, {})->collate(all);
    }
  });
  for (const auto& batch : found) CHECK(torch::equal(batch.input_ids, found.front().input_ids));
}

TEST_CASE("what may spoil a run is told of the texts and labels, in explain and in the report") {
  Data data;
  data.more = "test: {path: " + (data.root / "test.jsonl").string() + "}";
  const std::string long_text = "the and of the and of the and of the and of the and of";
  data.write("train.jsonl", {{"the of", "a"},
                             {"and of", "b"},
                             {"the the", "B"},
                             {"  ", "a"},
                             {"", "b"},
                             {"and of", "b"},
                             {"the of", "b"},
                             {long_text, "c"},
                             {"of", "c"}});
  data.write("validation.jsonl", {{"and of", "b"}, {"and and", "a"}, {"of the", "c"}, {"and the", "B"}});
  data.write("test.jsonl", {{"the of", "a"}, {"of the", "c"}, {"of of", "a"}});
  const auto report = data.look();
  const auto train = (data.root / "train.jsonl").string();
  for (const auto& expected :
       {"data.train: 2 of 9 texts are empty, the first at " + train + ":4",
        "data.train: 1 texts are there again with another label, the first at " + train +
            ":7: \"the of\" is \"b\" there and \"a\" at " + train + ":1",
        std::string("data.train: max_length 12 cuts 11 % of the texts: their median is 4 tokens, the longest 17"),
        std::string("data.train: the labels \"B\", \"b\" differ in letter case or white space alone"),
        "data.validation: 1 of its 4 different texts are in data.train too, the first at " +
            (data.root / "validation.jsonl").string() + ":1",
        "data.test: 1 of its 3 different texts are in data.train too, the first at " +
            (data.root / "test.jsonl").string() + ":1",
        "data.test: 1 of its 3 different texts are in data.validation too, the first at " +
            (data.root / "test.jsonl").string() + ":2",
        std::string("data.test: 1 of 3 classes are in no text: \"b\"")}) {
    INFO(expected);
    CHECK(has_warning(report, expected));
  }
  CHECK(report.warnings.size() == 9);  // and that "B" is taken for the model's class "b"

  REQUIRE(report.splits.size() == 3);
  const auto& split = report.splits.front();
  CHECK(split.texts == 9);
  CHECK(split.repeated == 2);
  CHECK(split.classes == std::map<std::string, int64_t>{{"a", 2}, {"b", 5}, {"c", 2}});
  REQUIRE(split.lengths.has_value());
  CHECK(split.lengths->longest == 17);
  CHECK(split.lengths->looked_at == 9);

  const auto as_json = data_json(report);
  CHECK(as_json["splits"][0]["classes"]["b"] == 5);
  CHECK(as_json["splits"][0]["lengths"]["longest"] == 17);
  CHECK(as_json["warnings"].size() == 9);
  const auto lines = data_lines(report);
  CHECK_THAT(lines.front(), Contains("train: 9 texts, 2 empty, 2 there before; tokens: median 4") &&
                                Contains("11.1 % are cut to max_length 12"));
  CHECK(std::ranges::find(lines, "class \"c\": 2, 1, 1") != lines.end());
}

TEST_CASE("texts that are sound get no warning") {
  Data data;
  data.write("train.jsonl", {{"the of", "x"}, {"and of", "y"}, {"and of", "y"}});
  data.write("validation.jsonl", {{"and and", "x"}, {"of the", "y"}});
  CHECK(data.look().warnings.empty());
}

TEST_CASE("texts of every task are looked at") {
  Data data;
  data.stages = "[{id: tuned, finetune: {}}]";
  data.task = "{type: token_classification}";
  const auto words = [&](const std::string& file, const json& tokens, const json& tags) {
    write_file(data.root / file, json{{"tokens", tokens}, {"tags", tags}}.dump() + "\n" +
                                     json{{"tokens", {"of"}}, {"tags", {"O"}}}.dump() + "\n");
  };
  words("train.jsonl", {"the", "of"}, {"B-X", "O"});
  words("validation.jsonl", {"the", "and"}, {"b-x", "O"});
  auto report = data.look();
  CHECK(has_warning(report, "data.validation: 1 of its 2 different texts are in data.train too"));
  CHECK(has_warning(report, R"(data (validation): labels "b-x" are taken for "B-X", letter case)"));
  CHECK(report.splits[0].classes == std::map<std::string, int64_t>{{"B-X", 1}, {"O", 2}});
  CHECK(report.splits[0].lengths->longest == 4);

  data.task = "{type: masked_lm}";
  write_file(data.root / "train.jsonl", "{\"text\": \"the\"}\n{\"text\": \"the\"}\n{\"text\": \"\"}\n");
  write_file(data.root / "validation.jsonl", "{\"text\": \"of\"}\n");
  report = data.look();
  CHECK(report.splits[0].repeated == 1);
  CHECK(report.warnings.size() == 1);
  CHECK(has_warning(report, "1 of 3 texts are empty"));

  data.task = "{type: embedding}";
  for (const auto* file : {"train.jsonl", "validation.jsonl"}) {
    write_file(data.root / file, R"({"text": "the", "text_pair": " ", "label": 0.5})"
                                 "\n");
  }
  report = data.look();
  CHECK(has_warning(report, "data.train: 1 of 1 texts are empty"));
}

/// The tiny checkpoint with other names for its three classes, in a folder of its own.
void write_named(const fs::path& folder, const json& names) {
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(golden("model/tiny"))) fs::copy(entry.path(), folder);
  auto config = read_json_file(folder / "config.json");
  config["id2label"] = names;
  config.erase("label2id");
  write_file(folder / "config.json", config.dump());
}

TEST_CASE("a checkpoint with names is compressed on data with numbers, and keeps its names") {
  Data data;
  const json names{{"0", "NEGATIVE"}, {"1", "NEUTRAL"}, {"2", "POSITIVE"}};
  write_named(data.root / "model", names);
  write_named(data.root / "unnamed", {{"0", "LABEL_0"}, {"1", "LABEL_1"}, {"2", "LABEL_2"}});
  write_named(data.root / "turned", {{"0", "positive"}, {"1", "negative"}, {"2", "neutral"}});
  data.model = (data.root / "model").string();
  data.stages = fmt::format(
      "[{{id: int8, quantize: {{of: {0}/model}}}}, {{id: pruned, prune: {{of: {0}/model, heads: 2}}}}, "
      "{{id: shipped, export: {{of: int8}}}}, "
      "{{id: student, distill: {{teacher: {0}/unnamed, student: {{from: {0}/model}}, epochs: 1}}}}, "
      "{{id: same, distill: {{teacher: {0}/turned, student: {{from: {0}/model}}, epochs: 1}}}}]",
      data.root.path().string());
  data.write("train.jsonl", {{"the of", 0}, {"and of", 1}, {"the the", 2}, {"the and", 1}, {"of of", 2}});
  data.write("validation.jsonl", {{"and and", "1"}, {"of the", "positive"}, {"of", 0}});
  const auto recipe = data.recipe();
  auto context = quiet_context({});
  const auto report = run(recipe, context);
  for (const auto& stage : report.stages) {
    INFO(stage.id);
    const auto config = read_json_file(recipe.output / stage.id / "config.json");
    CHECK(config["id2label"] == names);
  }
  CHECK(std::ranges::find(report.warnings,
                          R"(data (train): labels "0", "1", "2" are taken for "NEGATIVE", "NEUTRAL", "POSITIVE", by )"
                          "number") != report.warnings.end());
  const auto read_back = read_json_file(recipe.output / "report.json");
  CHECK(read_back["warnings"].size() == report.warnings.size());
  CHECK_THAT(read_file(recipe.output / "report.md"), Contains("are taken for"));
}

TEST_CASE("tags of a checkpoint may be more than the data has") {
  Data data;
  data.stages = "[{id: tuned, finetune: {of: " + data.model + "}}]";
  data.task = "{type: token_classification}";
  data.model = golden("model/heads/bert.token_classification").string();
  const auto config = load_model_config(data.model);
  REQUIRE(config.labels.size() > 2);
  const auto line = json{{"tokens", {"the", "of"}}, {"tags", {config.labels[2], config.labels[0]}}}.dump() + "\n";
  write_file(data.root / "train.jsonl", line);
  write_file(data.root / "validation.jsonl", line);
  const auto recipe = data.recipe();
  const TaskData texts(recipe.task, recipe.data, recipe.model.path);
  CHECK(texts.head().labels == config.labels);
  const auto found = texts.notes();
  CHECK(found.empty());
  CHECK(load_model(data.model, {.head = texts.head()}).notes.empty());
}

TEST_CASE("a model without names, and one of another number of classes, leave the data its labels") {
  Data data;
  data.write("train.jsonl", {{"the of", 0}, {"and of", 1}});
  data.write("validation.jsonl", {{"and and", 1}});
  const auto recipe = data.recipe();
  CHECK(TaskData(recipe.task, recipe.data, recipe.model.path).head().labels == std::vector<std::string>{"0", "1"});
  CHECK(TaskData(recipe.task, recipe.data, data.root / "none").head().labels == std::vector<std::string>{"0", "1"});
}

}  // namespace
}  // namespace compression::recipes
