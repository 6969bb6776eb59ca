// Reading recipes: what is accepted, and every message with its line.
#include "recipes/load.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "recipes/reader.h"       // Reader
#include "recipes/reference.h"    // sample_recipe, reference_page
#include "recipes/teachers.h"     // teachers_of_other_families
#include "recipes/write.h"        // recipe_json, to_yaml
#include "recipes/yaml_reader.h"  // parse_yaml

namespace compression::recipes {
namespace {

using std::string_view_literals::operator""sv;

const std::string kSample(sample_recipe());

const std::string kHead = R"(version: 1
name: small
output: runs/small
model: {path: models/a}
data: {train: {path: a.jsonl}, validation: {path: b.jsonl}}
)";  // 5 lines

Recipe parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(text, "r.yaml", overrides, FileCheck::off);
}

/// The message that the text is refused with; empty if it is accepted.
std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {},
                    FileCheck files = FileCheck::off) {
  try {
    parse_recipe(text, "r.yaml", overrides, files);
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

/// The refusal of a recipe whose stages begin on line 6.
std::string stage_refusal(const std::string& stages) {
  return refusal(kHead + "stages:\n" + stages);
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

template <class T>
const T& stage(const Recipe& recipe, size_t index) {
  return std::get<T>(recipe.stages.at(index).config);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Inner {
  int64_t number = 1;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("number", self.number, "A number", Presence::required);
  }
};

struct Outer {
  bool on = true;
  std::map<std::string, Inner> named;
  std::vector<std::vector<double>> grid;
  std::optional<Inner> inner;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("on", self.on, "A switch");
    visit("named", self.named, "Maps by name");
    visit("grid", self.grid, "Lists of lists");
    visit("inner", self.inner, "A map that may be absent");
  }
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "recipesXXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A checkpoint folder without weights, whose tokenizer knows no word.
void write_model(const std::filesystem::path& folder, const std::string& config) {
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "config.json") << config;
  const bool is_mpnet = config.find("mpnet") != std::string::npos;
  std::ofstream(folder / "vocab.txt") << (is_mpnet ? "<s>\n<pad>\n</s>\n[UNK]\n" : "[PAD]\n[UNK]\n[CLS]\n[SEP]\n");
}

}  // namespace

TEST_CASE("the sample recipe reads to the values it shows") {
  const Recipe recipe = parse(kSample);
  CHECK(recipe.version == 1);
  CHECK(recipe.name == "news-minilm");
  CHECK(recipe.seed == 17);
  CHECK(recipe.output == "runs/news-minilm");
  CHECK(recipe.model.path == "models/all-MiniLM-L6-v2");
  CHECK(recipe.data.max_length == 256);
  CHECK(recipe.data.train.path == "data/train.jsonl");
  REQUIRE(recipe.data.test);
  CHECK(recipe.data.test->path == "data/test.jsonl");

  REQUIRE(recipe.stages.size() == 6);
  CHECK(recipe.stages[0].id == "teacher");
  CHECK(stage<FinetuneConfig>(recipe, 0).train.learning_rate == 1e-4);
  CHECK_FALSE(stage<FinetuneConfig>(recipe, 0).of);
  const auto& student = stage<distill::DistillConfig>(recipe, 1);
  CHECK(student.teacher == Reference{"teacher"});
  CHECK(student.student.from == Reference{"teacher"});
  CHECK(student.student.layers == std::vector<int64_t>{1, 3, 5});
  REQUIRE(student.losses.size() == 1);
  CHECK(student.losses[0].type == distill::LossType::logits);
  CHECK(student.losses[0].temperature == 2.0);
  CHECK(student.train.epochs == TrainConfig{}.epochs);
  CHECK(stage<prune::PruneConfig>(recipe, 2).budget.heads == 6);
  CHECK(stage<prune::PruneConfig>(recipe, 2).budget.intermediate_size == 512);
  CHECK_FALSE(stage<distill::DistillConfig>(recipe, 3).student.layers);
  CHECK(stage<quantize::QuantizeConfig>(recipe, 4).scheme == quantize::Scheme::int8_dynamic);
  CHECK(stage<exporter::ExportConfig>(recipe, 5).of == Reference{"int8"});

  REQUIRE(recipe.goals.accuracy);
  CHECK(recipe.goals.accuracy->relative_to == Reference{"teacher"});
  CHECK(recipe.goals.accuracy->max_drop == 0.01);
  REQUIRE(recipe.goals.size);
  CHECK(recipe.goals.size->max.bytes == 30000000);
  CHECK_FALSE(recipe.goals.macs);
}

TEST_CASE("any struct with a list of fields can be read") {
  Issues issues;
  Outer outer;
  Reader(issues).read(parse_yaml("on: false\nnamed: {a: {number: 2}}\ngrid: [[1, 2.5], []]\n", "x.yaml", issues), "",
                      outer);
  CHECK(issues.empty());
  CHECK_FALSE(outer.on);
  CHECK(outer.named.at("a").number == 2);
  CHECK(outer.grid == std::vector<std::vector<double>>{{1, 2.5}, {}});
  CHECK_FALSE(outer.inner);

  const std::string bad = "on: maybe\nnamed: {a: {}}\ngrid: [[1, x], 2]\ninner: {numbr: 1}\n";
  Reader(issues).read(parse_yaml(bad, "x.yaml", issues), "", outer);
  CHECK_THROWS_WITH(issues.throw_if_any("x.yaml"),
                    "x.yaml:1: on: found \"maybe\", expected true or false\n"
                    "x.yaml:2: named.a.number: missing, but required\n"
                    "x.yaml:3: grid[0][1]: found \"x\", expected a number\n"
                    "x.yaml:3: grid[1]: found 2, expected a list\n"
                    "x.yaml:4: inner.numbr: unknown key (did you mean number?); known here: number");
}

TEST_CASE("a stage's references are found by its fields") {
  const Recipe recipe = parse(kSample);
  CHECK(references(recipe.stages[0]).empty());
  const std::vector<Reference> found = references(recipe.stages[3]);
  CHECK((found == std::vector<Reference>{{"teacher"}, {"pruned"}}));
  CHECK(stage_kind(recipe.stages[3].config) == "distill");
}

TEST_CASE("all mistakes are told at once, in the order of their lines") {
  const std::string text = R"(version: 1
name: six
sede: 17
output: runs/${nam}
model: {path: models/a}
data:
  max_length: 2
  train: {path: a.jsonl, header: yes}
  validation: {path: b.jsonl}
stages:
  - id: teacher
    finetune: {epochs: 3}
  - id: pruned
    prune: {of: teacher, heads: six}
goals:
  size: {max: 30XB}
)";
  CHECK(refusal(text) ==
        "r.yaml:3: sede: unknown key (did you mean seed?); known here: version, name, seed, output, model, task, data, "
        "variables, stages, goals\n"
        "r.yaml:4: output: found ${nam}, expected one of version, name, sede, output (did you mean name?)\n"
        "r.yaml:7: data.max_length: found 2, expected from 8 to 100000\n"
        "r.yaml:8: data.train.header: found \"yes\", expected true or false\n"
        "r.yaml:14: stages[1].prune.heads: found \"six\", expected an integer\n"
        "r.yaml:16: goals.size.max: found \"30XB\", expected a size such as 30MB (10^6 bytes) or 30MiB (2^20)");
}

TEST_CASE("a value of the wrong type is named with what was expected") {
  const auto train = [](const std::string& settings) {
    return stage_refusal("  - id: a\n    finetune:\n      " + settings + "\n");
  };
  CHECK(train("epochs: 1.5") == "r.yaml:9: stages[0].finetune.epochs: found 1.5, expected an integer");
  CHECK(train("epochs: \"2\"") == "r.yaml:9: stages[0].finetune.epochs: found \"2\" in quotes, expected an integer");
  CHECK(train("epochs: [2]") == "r.yaml:9: stages[0].finetune.epochs: found a list, expected an integer");
  CHECK(train("epochs: {a: 2}") == "r.yaml:9: stages[0].finetune.epochs: found a map, expected an integer");
  CHECK(train("epochs: true") == "r.yaml:9: stages[0].finetune.epochs: found true, expected an integer");
  CHECK(train("epochs: 99999999999999999999") ==
        "r.yaml:9: stages[0].finetune.epochs: found 99999999999999999999, expected an integer");
  CHECK(train("learning_rate: fast") ==
        "r.yaml:9: stages[0].finetune.learning_rate: found \"fast\", expected a number");
  CHECK(train("learning_rate: .nan") ==
        "r.yaml:9: stages[0].finetune.learning_rate: found \".nan\", expected a number");
  CHECK(train("learning_rate: nan") == "r.yaml:9: stages[0].finetune.learning_rate: found \"nan\", expected a number");
  CHECK(train("learning_rate: 1e999") ==
        "r.yaml:9: stages[0].finetune.learning_rate: found \"1e999\", expected a number");
  CHECK(
      train("schedule: linaer") ==
      "r.yaml:9: stages[0].finetune.schedule: found \"linaer\", expected one of linear, cosine, constant (did you mean "
      "linear?)");
  CHECK(train("label_smoothing: 1") ==
        "r.yaml:9: stages[0].finetune.label_smoothing: found 1, expected at least 0 and below 1");
  CHECK(train("{patience: 2, keep: last}") ==
        "r.yaml:9: stages[0].finetune.patience: found 2 with keep: last, expected keep: best, whose evaluations it "
        "counts");
  CHECK_THAT(refusal(kHead + "task: {type: regression}\nstages: [{id: a, finetune: {class_weights: balanced}}]\n"),
             Catch::Contains("stages[0].finetune.class_weights: set for the task regression"));
  CHECK_THAT(refusal(kHead + "task: {type: regression}\nstages: [{id: a, finetune: {label_weights: {a: 2}}}]\n"),
             Catch::Contains("stages[0].finetune.label_weights: set for the task regression"));
  CHECK(train("label_weights: {a: 2, b: 0}") ==
        "r.yaml:9: stages[0].finetune.label_weights.b: found 0, expected a number above 0");
  CHECK(train("label_weights: {a: much}") ==
        "r.yaml:9: stages[0].finetune.label_weights.a: found \"much\", expected a number");
  CHECK(train("- 3") == "r.yaml:8: stages[0].finetune: found a list, expected a map of keys and values");
  CHECK(refusal(kHead + "stages: all\n") == "r.yaml:6: stages: found \"all\", expected a list");
  CHECK(refusal(kHead + "seed: -1\nstages: [{id: a, finetune: {}}]\n") ==
        "r.yaml:6: seed: found -1, expected an integer of at least 0");
}

TEST_CASE("numbers may be written in the usual ways") {
  const auto rate = [](const std::string& number) {
    const Recipe recipe = parse(kHead + "stages:\n  - {id: a, finetune: {learning_rate: " + number + "}}\n");
    return stage<FinetuneConfig>(recipe, 0).train.learning_rate;
  };
  CHECK(rate("1e-4") == 1e-4);
  CHECK(rate("1.0E-4") == 1e-4);
  CHECK(rate(".5") == 0.5);
  CHECK(rate("+1") == 1.0);
}

TEST_CASE("a key without a value is as good as no key") {
  const Recipe recipe = parse(kHead + "seed:\ngoals:\n  size: null\nstages:\n  - id: a\n    finetune:\n");
  CHECK(recipe.seed == 0);
  CHECK_FALSE(recipe.goals.size);
  CHECK(stage<FinetuneConfig>(recipe, 0).train.epochs == TrainConfig{}.epochs);
  CHECK(stage_refusal("  - id: a\n    prune:\n      of:\n      heads: 2\n") ==
        "r.yaml:9: stages[0].prune.of: missing, but required");
}

TEST_CASE("a missing key is told at the map that lacks it, a misspelt one only once") {
  CHECK(stage_refusal("  - id: a\n    prune: {heads: 2}\n") == "r.yaml:8: stages[0].prune.of: missing, but required");
  CHECK(stage_refusal("  - id: a\n    export: {off: models/a}\n") ==
        "r.yaml:8: stages[0].export.off: unknown key (did you mean of?); known here: of, format, runtime, tolerance");
  CHECK(refusal("version: 1\n") ==
        "r.yaml:1: name: missing, but required\nr.yaml:1: output: missing, but required\n"
        "r.yaml:1: model: missing, but required\nr.yaml:1: data: missing, but required\n"
        "r.yaml:1: stages: missing, but required");
}

TEST_CASE("a key that is there twice is refused") {
  CHECK(refusal(with(kSample, "seed: 17\n", "seed: 17\nseed: 18\n")) == "r.yaml:4: seed: is on line 3 already");
  CHECK(stage_refusal("  - id: a\n    finetune:\n      epochs: 1\n      epochs: 2\n") ==
        "r.yaml:10: stages[0].finetune.epochs: is on line 9 already");
}

TEST_CASE("a stage has one kind and a name of its own") {
  const std::string two = "  - id: a\n    finetune: {}\n";
  CHECK(stage_refusal("  - id: a\n") ==
        "r.yaml:7: stages[0]: found no kind of stage, expected one of finetune, distill, prune, vocabulary, "
        "gradual, quantize, export");
  CHECK(stage_refusal(two + "    export: {of: b}\n") ==
        "r.yaml:7: stages[0]: found finetune, export, expected one of them: a stage does one thing");
  CHECK(stage_refusal("  - id: a\n    finetun: {}\n") ==
        "r.yaml:8: stages[0].finetun: unknown key (did you mean finetune?); known here: id, finetune, distill, prune, "
        "vocabulary, gradual, quantize, export");
  CHECK(stage_refusal("  - finetune: {}\n") == "r.yaml:7: stages[0].id: missing, but required");
  CHECK(stage_refusal(two + two) ==
        "r.yaml:9: stages[1].id: found \"a\", which stages[0] is called already; expected another name");
  CHECK(stage_refusal("  - id: ../a\n    finetune: {}\n") ==
        "r.yaml:7: stages[0].id: found \"../a\", expected up to 64 letters, digits, - and _");
  CHECK(stage_refusal("  - id: report\n    finetune: {}\n") ==
        "r.yaml:7: stages[0].id: found \"report\", which is reserved; expected another name than base, cache, model, "
        "recipe, "
        "report, tmp");
  CHECK(stage_refusal("  - a\n") == "r.yaml:7: stages[0]: found \"a\", expected a map of keys and values");
  CHECK(refusal(kHead + "stages: []\n") == "r.yaml:6: stages: found an empty list, expected at least one stage");
}

TEST_CASE("a reference names an earlier stage or a folder") {
  const std::string teacher = "  - id: teacher\n    finetune: {}\n";
  CHECK(stage_refusal(teacher + "  - id: b\n    export: {of: teachr}\n") ==
        "r.yaml:10: stages[1].export.of: found \"teachr\", expected an earlier stage (teacher) or a checkpoint folder "
        "(did you "
        "mean teacher?)");
  CHECK(stage_refusal("  - id: b\n    export: {of: teacher}\n" + teacher) ==
        "r.yaml:8: stages[0].export.of: found \"teacher\", a later stage, expected a checkpoint folder: no stage is "
        "before this "
        "one");
  CHECK(stage_refusal(teacher + "  - id: b\n    export: {of: b}\n") ==
        "r.yaml:10: stages[1].export.of: found \"b\", the stage itself, expected an earlier stage (teacher) or a "
        "checkpoint "
        "folder");
  CHECK(stage_refusal(teacher + "  - id: b\n    export: {of: teacher}\n  - id: c\n    finetune: {of: b}\n") ==
        "r.yaml:12: stages[2].finetune.of: found \"b\", whose result is a file to ship; expected a stage before its "
        "export");
  CHECK(stage_refusal("  - id: b\n    export: {of: models/a}\n") == "");
  CHECK(refusal(with(kSample, "relative_to: teacher", "relative_to: models/a")) == "");
  CHECK(refusal(with(kSample, "relative_to: teacher", "relative_to: teachr")) ==
        "r.yaml:26: goals.accuracy.relative_to: found \"teachr\", expected a stage (teacher, student, pruned, "
        "recovered, int8, shipped) or a checkpoint folder (did you mean teacher?)");
}

TEST_CASE("values out of range are refused by each config") {
  const auto one = [](const std::string& stage) { return stage_refusal("  - id: a\n    " + stage + "\n"); };
  const std::string at = "r.yaml:8: stages[0].";
  CHECK(one("finetune: {epochs: 0}") == at + "finetune.epochs: found 0, expected from 1 to 100000");
  CHECK(one("finetune: {learning_rate: 0}") == at + "finetune.learning_rate: found 0, expected a number above 0");
  CHECK(one("finetune: {warmup_ratio: 1.5}") == at + "finetune.warmup_ratio: found 1.5, expected from 0 to 1");
  CHECK(one("finetune: {hidden_dropout: 1}") ==
        at + "finetune.hidden_dropout: found 1, expected at least 0 and below 1");
  const std::string distill = "distill: {teacher: m/a, student: {from: m/b";
  CHECK(one(distill + "}, losses: []}") == at + "distill.losses: found an empty list, expected at least one loss");
  CHECK(one(distill + "}, losses: [{type: labels, weight: 0}]}") ==
        at + "distill.losses: found a weight of 0 for every loss, expected at least one above 0");
  CHECK(one(distill + "}, losses: [{type: logits, temperature: 0}]}") ==
        at + "distill.losses[0].temperature: found 0, expected a number above 0");
  CHECK(one(distill + "}, losses: [{type: embeddings, layers: [[0, 0]]}]}") ==
        at + "distill.losses[0].layers: a loss of type embeddings has no layers; expected them with hidden_states, "
             "attentions or relations only");
  CHECK(one(distill + "}, losses: [{type: attentions, layers: [[0, 1], [1], [-1, 3]]}]}") ==
        at + "distill.losses[0].layers[1]: found 1 numbers, expected the pair [student layer, teacher layer]\n" + at +
            "distill.losses[0].layers[2][0]: found -1, expected at least 0");
  CHECK(one(distill + ", layers: [1, 1]}}") ==
        at + "distill.student.layers[1]: found layer 1 again, expected each layer once");
  CHECK(one("prune: {of: m/a}") ==
        at + "prune: nothing to prune; expected heads, intermediate_size or both, or hidden_size, macs_reduction, "
             "parameter_reduction, latency_reduction or pattern");
  CHECK(one("prune: {of: m/a, heads: 0}") == at + "prune.heads: found 0, expected at least 1");
  CHECK(one("quantize: {of: m/a, scheme: bf16, activations: per_tensor}") ==
        at + "quantize.activations: found per_tensor with scheme bf16, which keeps activations; expected scheme "
             "int8_dynamic "
             "with it");
  CHECK(one("quantize: {of: m/a, max_drop: 1.5}") == at + "quantize.max_drop: found 1.5, expected from 0 to 1");
  CHECK(one("quantize: {of: m/a, max_drop: -1}") == at + "quantize.max_drop: found -1, expected at least 0");
  CHECK(one("quantize: {of: m/a, scheme: fp16, observer: entropy, bias_correction: true}") ==
        at + "quantize.bias_correction: found with scheme fp16, expected scheme int8_dynamic or int8_static with it\n" +
            at + "quantize.observer: found with scheme fp16, expected scheme int8_static with it");
  CHECK(one("export: {of: m/a, tolerance: -1}") == at + "export.tolerance: found -1, expected a number above 0");
  CHECK(refusal(with(kSample, "version: 1", "version: 2")) ==
        "r.yaml:1: version: found 2, expected 1, the only version");
  CHECK(refusal(with(kSample, ", max_drop: 0.01", "")) ==
        "r.yaml:26: goals.accuracy: relative_to without max_drop, expected both");
  CHECK(refusal(with(kSample, "max_drop: 0.01", "max_drop: 2")) ==
        "r.yaml:26: goals.accuracy.max_drop: found 2, expected from 0 to 1");
}

TEST_CASE("configs are checked without a recipe too") {
  CHECK_NOTHROW(check(TrainConfig{}));
  TrainConfig config;
  config.epochs = 0;
  config.learning_rate = -1;
  CHECK_THROWS_WITH(check(config),
                    "epochs: found 0, expected from 1 to 100000\nlearning_rate: found -1, expected a number above 0");
  CHECK_THROWS_WITH(check(prune::PruneConfig{}),
                    "nothing to prune; expected heads, intermediate_size or both, or hidden_size, macs_reduction, "
                    "parameter_reduction, latency_reduction or pattern");
}

TEST_CASE("text that is no recipe is refused with its line") {
  CHECK(refusal("") == "r.yaml: is empty, expected a recipe");
  CHECK(refusal("# nothing\n") == "r.yaml: is empty, expected a recipe");
  CHECK(refusal("- a\n- b\n") == "r.yaml:1: expected a recipe, a map that begins with `version: 1`");
  CHECK(refusal("version: 1\nname: [a, b\n") == "r.yaml:3: the YAML is ill-formed: end of sequence flow not found");
  CHECK(refusal("version: 1\n name: a\n") == "r.yaml:2: the YAML is ill-formed: illegal map value");
  CHECK(refusal("version: 1\n---\nversion: 1\n") == "r.yaml: found two documents, expected one");
  CHECK(refusal("version: 1\n[a]: b\n") == "r.yaml:2: found a key that is no text, expected `key: value`");
  CHECK(refusal("version: !!int 1\n") ==
        "r.yaml:1: found the tag \"tag:yaml.org,2002:int\", expected a value without a tag");
  CHECK(refusal("a: 1\nname: b\x04\n") == "r.yaml:2: found the control character 4, expected text");
  CHECK(refusal("name: \xff\n") == "r.yaml: the text is not UTF-8");
}

TEST_CASE("hostile text is refused and does no harm") {
  CHECK(refusal(std::string(300000, 'a')) ==
        "r.yaml: the text has more than 262144 bytes, which is the most that is read");
  CHECK(refusal("a: " + std::string(100, '[')) ==
        "r.yaml:1: found values nested deeper than 64, expected a flatter text");
  CHECK_FALSE(refusal(std::string(200000, '[')).empty());
  CHECK_FALSE(refusal(std::string(200000, '{')).empty());
  CHECK_FALSE(refusal(std::string(100000, '-') + " ").empty());
  CHECK(refusal("a: &a [*a]\n") == "r.yaml:1: an alias refers to what holds it");

  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below;
    for (int j = 1; j < 10; ++j) bomb += ", " + below;
    bomb += "]\n";
  }
  CHECK(refusal(bomb) == "r.yaml:4: found more than 20000 values, aliases written out; expected fewer");
}

TEST_CASE("long and odd values are cut and kept on one line") {
  const std::string message =
      stage_refusal("  - id: a\n    finetune: {epochs: \"b\\nc" + std::string(200, 'x') + "\"}\n");
  CHECK(message ==
        "r.yaml:8: stages[0].finetune.epochs: found \"b\\nc" + std::string(77, 'x') + "...\", expected an integer");
  CHECK(refusal(kHead + "\"a\\nb\": 1\nstages: [{id: a, finetune: }]\n")
            .starts_with("r.yaml:6: \"a\\nb\": unknown key;"));
}

TEST_CASE("what a terminal would obey is escaped in every message, and no line is long") {
  CHECK(stage_refusal("  - id: a\n    finetune: {epochs: \"\\e[31m\\u202e\"}\n") ==
        "r.yaml:8: stages[0].finetune.epochs: found \"\\u001b[31m\\u202e\", expected an integer");
  const std::string long_name(100'000, 'x');
  CHECK(refusal(kHead + long_name + ": 1\nstages: [{id: a, finetune: }]\n").size() < 2100);
  CHECK(refusal(kHead + "stages: [{id: a, finetune: }]\n", {long_name + "=1"}).size() < 2100);
  CHECK_THROWS_WITH(load_recipe("none\x1b[2J\n\xe9.yaml"),
                    Catch::StartsWith("none\\x1b[2J\\n\\xe9.yaml: can't be opened"));
  CHECK_THROWS_WITH(parse_recipe("a: b: c", "x\ny\x1b.yaml"), Catch::StartsWith("x\\ny\\x1b.yaml:1: the YAML is"));
  CHECK(refusal(with(kHead, "name: small", "name: \"a\\eb\"") + "stages: [{id: a, finetune: }]\n") ==
        "r.yaml:2: name: found \"a\\u001bb\", expected a text without control characters");
}

TEST_CASE("a path that begins with ~ is in the user's own folder, for every key that holds one") {
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  setenv("HOME", "/home/ada", 1);
  const std::string text =
      with(with(with(kHead, "runs/small", "~/runs"), "models/a", "\"~\""), "a.jsonl", "~/a.jsonl") +
      "variables: {root: ~/models}\n"
      "stages:\n  - id: s\n    distill: {teacher: ~/b, student: {from: \"${root}/c\"}, "
      "teacher_cache: {folder: ~/cache}}\n";
  const auto recipe = parse(text);
  CHECK(recipe.output == "/home/ada/runs");
  CHECK(recipe.model.path == "/home/ada");
  CHECK(recipe.data.train.path == "/home/ada/a.jsonl");
  const auto& distill = stage<distill::DistillConfig>(recipe, 0);
  CHECK(distill.teacher->name == "/home/ada/b");
  CHECK(distill.student.from.name == "/home/ada/models/c");
  CHECK(distill.teacher_cache.folder == "/home/ada/cache");
  CHECK(parse(text, {"output=~/x"}).output == "/home/ada/x");
  CHECK(parse(text, {"output=./~/x"}).output == "./~/x");
  CHECK(
      refusal(text, {"output=~bob/x"}) ==
      "--set output=~bob/x: output: found \"~bob/x\", expected a path that begins with ~/, or ./~ for a folder of that "
      "name");
  unsetenv("HOME");
  CHECK_THAT(refusal(text),
             Catch::Contains("r.yaml:3: output: found \"~/runs\", expected a path without ~, since HOME"));
  if (!home.empty()) setenv("HOME", home.c_str(), 1);
}

TEST_CASE("anchors, aliases and merge keys may save repetition") {
  const Recipe recipe = parse(kHead + R"(stages:
  - id: a
    finetune: &settings {epochs: 7, batch_size: 8}
  - id: b
    finetune: *settings
  - id: c
    finetune: {<<: *settings, epochs: 2}
)");
  CHECK(stage<FinetuneConfig>(recipe, 1).train.epochs == 7);
  CHECK(stage<FinetuneConfig>(recipe, 2).train.epochs == 2);
  CHECK(stage<FinetuneConfig>(recipe, 2).train.batch_size == 8);
}

TEST_CASE("an override changes a recipe by key path, by position or by a stage's id") {
  const Recipe recipe =
      parse(kSample, {"data.max_length=64", "stages[0].finetune.epochs=5", "stages.student.distill.epochs=1",
                      "stages.student.distill.losses[0].temperature=4",
                      "goals.macs={relative_to: teacher, "
                      "min_reduction: 2}",
                      "data.test=", "name=other", "stages.pruned.prune.heads=8"});
  CHECK(recipe.data.max_length == 64);
  CHECK(stage<FinetuneConfig>(recipe, 0).train.epochs == 5);
  CHECK(stage<distill::DistillConfig>(recipe, 1).train.epochs == 1);
  CHECK(stage<distill::DistillConfig>(recipe, 1).losses[0].temperature == 4);
  REQUIRE(recipe.goals.macs);
  CHECK(recipe.goals.macs->min_reduction == 2);
  CHECK_FALSE(recipe.data.test);
  CHECK(recipe.output == "runs/other");
  CHECK(stage<prune::PruneConfig>(recipe, 2).budget.heads == 8);
}

TEST_CASE("a wrong --set is named by its text") {
  CHECK(refusal(kSample, {"stages.student.distill.epochs=six"}) ==
        "--set stages.student.distill.epochs=six: stages[1].distill.epochs: found \"six\", expected an integer");
  CHECK(refusal(kSample, {"data.max_length=0"}) ==
        "--set data.max_length=0: data.max_length: found 0, expected from 8 to 100000");
  CHECK(refusal(kSample, {"data.max_lenght=64"}) ==
        "--set data.max_lenght=64: data.max_lenght: unknown key (did you mean max_length?); known here: max_length, "
        "stride, answers, train, validation, test, unlabelled");
  CHECK(refusal(kSample, {"stages.studnt.distill.epochs=1"}) ==
        "--set stages.studnt.distill.epochs=1: stages has no entry called \"studnt\"; it has teacher, student, pruned, "
        "recovered, int8, shipped (did you mean student?)");
  CHECK(refusal(kSample, {"stages[6].id=a"}) == "--set stages[6].id=a: stages has 6 entries, counted from 0");
  CHECK(refusal(kSample, {"name.a=b"}) == "--set name.a=b: name is a single value and has no keys");
  CHECK(refusal(kSample, {"seed"}) == "--set seed: expected key=value, such as data.max_length=64");
  CHECK(refusal(kSample, {"a..b=1"}) == "--set a..b=1: expected key=value, such as data.max_length=64");
  CHECK(refusal(kSample, {"seed=[1"}) == "--set seed=[1: the YAML is ill-formed: end of sequence flow not found");
  CHECK(refusal(with(kSample, "seed: 17", "seed: -2"), {"stages.int8.quantize.scheme=int4"}) ==
        "r.yaml:3: seed: found -2, expected an integer of at least 0\n"
        "--set stages.int8.quantize.scheme=int4: stages[4].quantize.scheme: found \"int4\", expected one of "
        "int8_dynamic, int8_static, fp16, bf16");
}

TEST_CASE("variables stand for values, with their type") {
  const std::string stages =
      "stages:\n  - id: a\n    finetune: {epochs: \"${epochs}\", batch_size: \"${data.max_length}\"}\n";
  const std::string data = with(kHead, "data: {", "data: {max_length: 99, ");
  const Recipe recipe = parse(with(data, "runs/small", "${base}/${name}-$${x}") + stages +
                              "variables:\n  epochs: 4\n  base: ${root}/runs\n  root: /tmp\n");
  CHECK(recipe.output == "/tmp/runs/small-${x}");
  CHECK(stage<FinetuneConfig>(recipe, 0).train.epochs == 4);
  CHECK(stage<FinetuneConfig>(recipe, 0).train.batch_size == 99);
  CHECK(recipe.variables.at("base") == "/tmp/runs");
  CHECK(stage<FinetuneConfig>(parse(kHead + with(stages, "data.max_length", "epochs") + "variables: {epochs: 4}\n",
                                    {"variables.epochs=6"}),
                              0)
            .train.epochs == 6);
}

TEST_CASE("variables that have no value are told with their line") {
  const std::string stages = "stages: [{id: a, finetune: }]\n";
  const auto with_variables = [&](const std::string& text) { return refusal(kHead + stages + "variables:\n" + text); };
  CHECK(with_variables("  a: ${b}\n  b: ${c}\n  c: ${a}\n") ==
        "r.yaml:10: variables.c: found ${a}, which refers back to itself: variables.a -> variables.b -> variables.c -> "
        "variables.a");
  CHECK(with_variables("  a: ${a}\n") ==
        "r.yaml:8: variables.a: found ${a}, which refers back to itself: variables.a -> variables.a");
  CHECK(with_variables("  a: ${nope}\n") ==
        "r.yaml:8: variables.a: found ${nope}, expected one of a, version, name, output");
  CHECK(with_variables("  a: ${data}\n") ==
        "r.yaml:8: variables.a: found ${data}, expected the name of a single value");
  CHECK(with_variables("  a: ${name\n") ==
        "r.yaml:8: variables.a: found ${ without }, expected ${name}; $${ is a plain ${");
  CHECK(with_variables("  name: a\n") == "r.yaml:8: variables.name: is a key of the recipe too, expected another name");
  CHECK(refusal(with(kHead, "runs/small", "${nope}") + stages) ==
        "r.yaml:3: output: found ${nope}, expected one of version, name, output");
}

TEST_CASE("a variable of --set that changes nothing is refused") {
  const std::string stages = "stages: [{id: a, finetune: }]\n";
  CHECK(refusal(kHead + stages, {"variables.texts=bbc"}) ==
        "--set variables.texts=bbc: variables.texts: is used nowhere in the recipe, which uses no variables");
  const std::string recipe = with(kHead, "runs/small", "${folder}") + stages + "variables: {folder: runs, idle: a}\n";
  CHECK_NOTHROW(parse(recipe, {"variables.folder=bbc"}));
  CHECK(refusal(recipe, {"variables.foldr=bbc"}) ==
        "--set variables.foldr=bbc: variables.foldr: is used nowhere in the recipe, expected one of folder (did you "
        "mean folder?)");
  CHECK(refusal(recipe, {"variables.idle=b"}) ==
        "--set variables.idle=b: variables.idle: is used nowhere in the recipe, expected one of folder");
  CHECK(refusal(recipe, {"variables.folder=${folder}"}) ==
        "--set variables.folder=${folder}: variables.folder: found ${folder}, which refers back to itself: "
        "output -> variables.folder -> variables.folder");
}

TEST_CASE("variables that would grow without end are refused") {
  std::string text = kHead + "stages: [{id: a, finetune: }]\nvariables:\n  v0: xxxxxxxxxx\n";
  for (int i = 1; i < 40; ++i) {
    const std::string below = "${v" + std::to_string(i - 1) + "}";
    text += "  v" + std::to_string(i) + ": " + below + below + "\n";
  }
  CHECK(refusal(text) == "r.yaml:21: variables.v13: longer than 64 KiB with its variables, expected a shorter text");
}

TEST_CASE("files that are not there are told before anything runs") {
  const TemporaryFolder folder;
  const std::string base = folder.path().string();
  std::string text = with(kHead, "models/a", base + "/model");
  text = with(with(text, "a.jsonl", base + "/a.jsonl"), "b.jsonl", base + "/b.jsonl");
  text += "stages:\n  - id: a\n    export: {of: " + base + "/other}\n";
  const auto quoted_path = [&](const std::string& name) { return "\"" + base + name + "\""; };
  CHECK(refusal(text, {}, FileCheck::on).find("data.train.path: found ") != std::string::npos);
  CHECK(refusal(text, {}, FileCheck::on).find("model.path: found ") != std::string::npos);

  for (const char* name : {"/a.jsonl", "/b.jsonl"}) std::ofstream(base + name) << "{}\n";
  for (const char* name : {"/model", "/other"}) {
    write_model(base + name, R"({"model_type": "bert", "vocab_size": 100})");
    std::filesystem::copy(std::filesystem::path(COMPRESS_GOLDENS) / "model/tiny/model.safetensors", base + name);
  }
  CHECK(refusal(text, {}, FileCheck::on) == "");
  std::filesystem::remove(base + "/other/config.json");
  CHECK(refusal(text, {}, FileCheck::on) ==
        "r.yaml:8: stages[0].export.of: found " + quoted_path("/other") + ", expected a folder with a config.json");
  CHECK(refusal(text, {}, FileCheck::off) == "");
}

TEST_CASE("losses on tokens are refused with a teacher of another vocabulary, before anything runs") {
  const TemporaryFolder folder;
  const std::string base = folder.path().string();
  const auto model = [&](const std::string& name, const std::string& config, const char* weights) {
    write_model(base + name, config);
    std::filesystem::copy(std::filesystem::path(COMPRESS_GOLDENS) / weights / "model.safetensors", base + name);
  };
  model("/bert", R"({"model_type": "bert", "vocab_size": 100})", "model/tiny");
  model("/electra", R"({"model_type": "electra", "vocab_size": 100})", "model/families/electra");
  model("/mpnet", R"({"model_type": "mpnet", "vocab_size": 105})", "model/families/mpnet");
  for (const char* name : {"/a.jsonl", "/b.jsonl"}) std::ofstream(base + name) << "{}\n";
  auto head = with(kHead, "models/a", base + "/bert");
  head = with(with(head, "a.jsonl", base + "/a.jsonl"), "b.jsonl", base + "/b.jsonl");
  const auto told = [&](const std::string& stages) { return refusal(head + "stages:\n" + stages, {}, FileCheck::on); };
  const auto distill = [&](const std::string& teacher, const std::string& loss) {
    return "  - id: a\n    finetune:\n  - id: b\n    distill: {teacher: " + base + teacher +
           ", student: {from: a}, losses: [{type: logits}, {type: " + loss + "}]}\n";
  };
  CHECK(told(distill("/mpnet", "labels")) == "");
  CHECK(told(distill("/electra", "hidden_states")) == "");
  CHECK(
      told(distill("/mpnet", "hidden_states")) ==
      "r.yaml:10: stages[1].distill.losses[1].type: found a loss on tokens, but the teacher is mpnet with 105 tokens, "
      "the student bert with 100 tokens: their tokens can't be paired; expected logits or labels with "
      "stages[1].distill.teacher");
  CHECK_THAT(
      told("  - id: a\n    finetune:\n  - id: c\n    vocabulary: {of: a}\n  - id: b\n    distill: {teachers: "
           "[{model: a, losses: [{type: embeddings}]}], student: {from: c}}\n"),
      Catch::Contains("stages[2].distill.teachers[0].losses[0].type") && Catch::Contains("less those that c cut"));
  const auto recipe = parse_recipe(head + "stages:\n" + distill("/electra", "hidden_states"), "r.yaml", {});
  const auto found = teachers_of_other_families(recipe);
  REQUIRE(found.size() == 1);
  CHECK(found.front().stage == "b");
}

TEST_CASE("a recipe that can't be read from its file is named") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(load_recipe(folder.path()), folder.path().string() + ": is a folder, expected a recipe");
  CHECK_THROWS_WITH(
      load_recipe(folder.path() / "none.yaml"),
      (folder.path() / "none.yaml").string() + ": can't be opened, expected a recipe: No such file or directory");
  std::ofstream(folder.path() / "r.yaml") << kSample;
  CHECK(load_recipe(folder.path() / "r.yaml", {}, FileCheck::off).name == "news-minilm");
}

TEST_CASE("sizes are read and written in the usual units") {
  CHECK(parse_byte_size("30MB").bytes == 30000000);
  CHECK(parse_byte_size("1.5 GiB").bytes == 1610612736);
  CHECK(parse_byte_size("500kB").bytes == 500000);
  CHECK(parse_byte_size("12B").bytes == 12);
  CHECK_THROWS_WITH(parse_byte_size("15"),
                    "found \"15\", expected a size with its unit, such as 15MB, or 30MiB (2^20 bytes)");
  for (const char* bad :
       {"", "0", "1200", "MB", "30 mb", "-1MB", "1e3MB", "30MB ", "99999999999GiB", "nan", "inf", "infMB"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_byte_size(bad), ConfigError);
  }
  for (const char* text : {"30MB", "3GiB", "1MiB", "7B", "12kB", "0B"}) CHECK(to_text(parse_byte_size(text)) == text);
}

TEST_CASE("a recipe that is written out reads back as the same") {
  std::string text =
      with(kSample, "news-minilm", "\"on $${x} \\\"y\\\"\"") + "variables: {epochs: 4, text: \"a: #b\"}\n";
  text = with(text, "quantize: {of: recovered", "quantize: {embeddings: fp16, of: recovered");
  text = with(text, "[{type: logits, temperature: 2.0}]",
              "[{type: logits}, {type: attentions, layers: [[0, 1], [1, 3]]}]");
  const Recipe recipe = parse(text);
  const std::string yaml = to_yaml(recipe);
  INFO(yaml);
  const Recipe again = parse(yaml);
  CHECK(recipe_json(again) == recipe_json(recipe));
  CHECK(to_yaml(again) == yaml);
  CHECK(recipe_json(recipe)["stages"][5] ==
        nlohmann::json::parse(
            R"({"id": "shipped", "export": {"of": "int8", "format": "torchscript", "runtime": "fused"}})"));
  CHECK(recipe_json(recipe)["goals"]["size"]["max"] == "30MB");
}

// After a change of the fields: COMPRESS_APPROVE=1 writes the page anew.
TEST_CASE("docs/recipe.md is the page that the code makes") {
  const auto file = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path() / "docs" / "recipe.md";
  if (std::getenv("COMPRESS_APPROVE")) std::ofstream(file) << reference_page();
  CHECK(read_text(file) == reference_page());
}

TEST_CASE("keys are explained a section at a time") {
  CHECK(explain_keys("export") ==
        "export: a stage of a recipe\n"
        "  of  (stage id or checkpoint folder, required)\n      The model to export\n"
        "  format  (torchscript, default torchscript)\n"
        "      torchscript: model.pt, which LibTorch and PyTorch load\n"
        "  runtime  (portable, fused, default portable)\n"
        "      portable: LibTorch's operators, and nothing else is needed; fused: the operators of libcompress_ops.so, "
        "which are faster, on the CPU\n"
        "  tolerance  (number)\n"
        "      Largest difference of a logit between the file, as it is loaded again, and what the runtime computes of "
        "the model; absent: 0.001, of the fused runtime with int8 and 16-bit weights 0.00001, times the logits' root "
        "mean square where that is above 1\n");
  CHECK(explain_keys("distill").find("distill.losses[]\n  type  (logits, labels,") != std::string::npos);
  CHECK_THROWS_WITH(explain_keys("distil"), Catch::Contains("(did you mean distill?)"));
  for (const std::string& section : explainable_sections()) CHECK_FALSE(explain_keys(section).empty());
}

TEST_CASE("every shipped recipe is sound") {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(COMPRESS_SOURCE_DIR "/recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    INFO(entry.path().string());
    CHECK_NOTHROW(load_recipe(entry.path(), {}, FileCheck::off));
    ++count;
  }
  CHECK(count >= 1);
}

TEST_CASE("random changes of a recipe are read or refused, never worse") {
  std::mt19937 random(17);
  const auto below = [&](size_t bound) { return static_cast<size_t>(random() % bound); };
  const std::string_view odd = "\0\t\n #$%&*-:<>?@[]{}|\\'\"!~.0e\x7f\x80\xc3\xff"sv;
  int read = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = kSample;
    for (size_t changes = 1 + below(4); changes > 0 && !text.empty(); --changes) {
      const size_t at = below(text.size());
      switch (below(5)) {
        case 0:
          text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
          break;
        case 1:
          text.insert(at, 1, odd[below(odd.size())]);
          break;
        case 2:
          text.erase(at, 1 + below(20));
          break;
        case 3:
          text.insert(at, text.substr(below(text.size()), 1 + below(40)));
          break;
        default: {  // a line less
          const size_t begin = text.rfind('\n', at) + 1;
          text.erase(begin, text.find('\n', begin) - begin + 1);
        }
      }
    }
    try {
      const Recipe recipe = parse(text);
      CHECK(recipe_json(parse(to_yaml(recipe))) == recipe_json(recipe));
      ++read;
    } catch (const ConfigError& error) {
      if (std::string(error.what()).empty()) FAIL("no message for\n" << text);
    }
  }
  CHECK(read > 0);
}

}  // namespace compression::recipes
