// What a recipe's models tell before any work.
#include "recipes/preflight.h"

#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "export/encoder_state.h"
#include "prune/allocate.h"
#include "recipes/benchmark.h"
#include "recipes/load.h"
#include "recipes/run.h"
#include "recipes/runnable.h"
#include "tests/recipes/tiny_task.h"
#include "tests/support.h"

namespace compression::recipes {
namespace {

using namespace testing;
using Catch::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

/// Recipes on folders of which only config.json, the tokenizer and the weights' headers are read.
struct Preflight {
  TemporaryFolder root;

  Preflight() {
    write_texts(root / "texts.jsonl", 12, 1);
    write_model("bert", json::object());
  }

  /// goldens/model/tiny with other fields.
  void write_model(const std::string& name, const json& fields) const {
    fs::create_directories(root / name);
    fs::copy(golden("model/tiny/vocab.txt"), root / name);
    fs::copy(golden("model/tiny/model.safetensors"), root / name);
    auto config = read_json_file(golden("model/tiny/config.json"));
    config.update(fields);
    write_file(root / (name + "/config.json"), config.dump());
    write_file(root / (name + "/tokenizer_config.json"), R"({"tokenizer_class": "BertTokenizer"})");
  }

  /// `stages` begin on line 9.
  std::string text(const std::string& stages, const std::string& task = "classification") const {
    const auto texts = (root / "texts.jsonl").string();
    return fmt::format(R"(version: 1
name: preflight
output: {}
model: {{path: {}}}
task: {{type: {}}}
data:
  {{max_length: 20, train: {{path: {}}}, validation: {{path: {}}}}}
stages:
{})",
                       (root / "runs").string(), (root / "bert").string(), task, texts, texts, stages);
  }

  std::string told(const std::string& stages, const std::vector<std::string>& overrides = {},
                   const std::string& task = "classification") const {
    try {
      parse_recipe(text(stages, task), "r.yaml", overrides);
      return "";
    } catch (const ConfigError& error) {
      return error.what();
    }
  }
};

const std::string teacher = "  - id: teacher\n    finetune: {}\n";

TEST_CASE("texts longer than the positions of the model, a student or a teacher are told with line and key") {
  const Preflight all;
  all.write_model("short", {{"max_position_embeddings", 16}});
  all.write_model("roberta", {{"model_type", "roberta"}, {"max_position_embeddings", 21}, {"pad_token_id", 1}});
  CHECK(all.told(teacher) == "");
  CHECK_THAT(all.told(teacher, {"data.max_length=41"}),
             Contains("data.max_length: found 41, but the model") &&
                 Contains("has positions for 40 tokens; expected at most 40"));
  CHECK_THAT(all.told("  - id: teacher\n    finetune: {of: " + (all.root / "short").string() + "}\n"),
             Contains("r.yaml:7: data.max_length: found 20, but the model") && Contains("(stages[0].finetune.of)") &&
                 Contains("positions for 16 tokens"));
  CHECK_THAT(all.told(teacher + "  - id: student\n    distill: {teacher: " + (all.root / "short").string() +
                      ", student: {from: teacher}}\n"),
             Contains("(stages[1].distill.teacher)"));
  CHECK_THAT(all.told(teacher + "  - id: student\n    distill: {teachers: [{model: teacher}, {model: " +
                      (all.root / "roberta").string() + "}], student: {from: teacher}}\n"),
             Contains("(stages[1].distill.teachers[1].model)") && Contains("positions for 19 tokens"));
  CHECK_THAT(all.told(teacher + "  - id: student\n    distill: {teacher: teacher, student: {from: " +
                      (all.root / "short").string() + "}}\n"),
             Contains("(stages[1].distill.student.from)"));
}

TEST_CASE("sizes that the model has not are told with line, key and what it has, before anything runs") {
  const Preflight all;
  const auto pruned = [&](const std::string& budget) {
    return all.told(teacher + "  - id: pruned\n    prune: {of: teacher, " + budget + "}\n");
  };
  CHECK(pruned("heads: 4, intermediate_size: 48") == "");
  CHECK(pruned("heads: 5") ==
        "r.yaml:12: stages[1].prune.heads: found 5, but layer 0 of `teacher` has 4 heads; expected at most 4");
  CHECK_THAT(pruned("intermediate_size: 99999"),
             Contains("stages[1].prune.intermediate_size: found 99999, but layer 0 of `teacher` has 48 FFN units"));
  CHECK_THAT(pruned("hidden_size: 33"),
             Contains("stages[1].prune.hidden_size: found 33, but the hidden size of `teacher` is 32"));
  CHECK_THAT(pruned("heads: 5, allocation: global"), Contains("have 4 heads on average"));
  CHECK_THAT(
      all.told(teacher + "  - id: a\n    prune: {of: teacher, heads: 2}\n  - id: b\n    prune: {of: a, heads: 3}\n"),
      Contains("stages[2].prune.heads: found 3, but layer 0 of `a` has 2 heads"));
  // After global counts a layer may have any number up to what it had.
  CHECK(all.told(teacher +
                 "  - id: a\n    prune: {of: teacher, heads: 2, allocation: global}\n  - id: b\n    prune: {of: "
                 "a, heads: 3}\n") == "");

  const auto student = [&](const std::string& keys, const std::string& losses = "[{type: logits}]") {
    return all.told(teacher + "  - id: student\n    distill: {teacher: teacher, losses: " + losses +
                    ", student: {from: teacher, " + keys + "}}\n");
  };
  CHECK(student("layers: [0, 2]") == "");
  CHECK_THAT(student("layers: [0, 3]"),
             Contains("stages[1].distill.student.layers[1]: found layer 3, but `teacher` has layers 0 to 2"));
  CHECK_THAT(student("num_attention_heads: 5"), Contains("stages[1].distill.student.num_attention_heads: found 5"));
  CHECK_THAT(student("intermediate_size: 49"), Contains("stages[1].distill.student.intermediate_size: found 49"));
  CHECK_THAT(student("hidden_size: 33"), Contains("stages[1].distill.student.hidden_size: found 33"));
  CHECK_THAT(student("layers: [0, 2]", "[{type: hidden_states, layers: [[2, 2], [1, 3]]}]"),
             Contains("losses[0].layers[0][0]: found layer 2, but `teacher` has layers 0 to 1") &&
                 Contains("losses[0].layers[1][1]: found layer 3, but `teacher` has layers 0 to 2"));
  CHECK(student("layers: [0, 2]", "[{type: relations, relation_heads: 7}]") ==
        "r.yaml:12: stages[1].distill.losses[0].relation_heads: found 7, expected a divisor of 32, the width of the "
        "queries in the last layer of `teacher`");
  CHECK_THAT(
      all.told(teacher + "  - id: g\n    gradual: {of: teacher, prune: {heads: 5}, distill: {teacher: teacher}}\n"),
      Contains("stages[1].gradual.prune.heads: found 5"));
}

TEST_CASE("a reduction that can't be reached is told with the largest that can, which the budget then takes") {
  const Preflight all;
  const auto told = [&](const std::string& budget) {
    return all.told(teacher + "  - id: p\n    prune: {of: teacher, importance: random, " + budget + "}\n");
  };
  CHECK_THAT(told("macs_reduction: 100"),
             Contains("stages[1].prune.macs_reduction: found 100, but of `teacher` at most ") &&
                 Contains("times fewer multiply-adds can be left"));
  CHECK_THAT(told("parameter_reduction: 100, multiple_of: 16"),
             Contains("stages[1].prune.parameter_reduction: found 100") && Contains("a head and 16 FFN units"));
  CHECK(told("macs_reduction: 100, whole_blocks: true") == "");

  auto model = tiny_model();
  for (const int64_t multiple : {1, 16}) {
    prune::BudgetConfig budget{.macs_reduction = 1.0, .multiple_of = multiple};
    const auto most = *prune::largest_reduction(model->config(), budget, 20);
    INFO(most);
    prune::Importance importance;
    for (const auto& group : model->prunable_units()) {
      importance.push_back({group.kind, group.layer, torch::rand({group.count})});
    }
    const auto choose = [&](double reduction) {
      budget.macs_reduction = reduction;
      return prune::Budget(model, budget, 20).choose(importance);
    };
    CHECK_NOTHROW(choose(most * 0.999999));
    CHECK_THROWS_AS(choose(most * 1.001), ConfigError);
  }
}

TEST_CASE("stages that a model's weights or a runtime do not allow are told before anything runs") {
  const Preflight all;
  const auto quantized = teacher + "  - id: int8\n    quantize: {of: teacher, scheme: int8_dynamic}\n";
  CHECK_THAT(all.told(quantized + "  - id: p\n    prune: {of: int8, heads: 2}\n"),
             Contains("stages[2].prune.of: found `int8`, whose weights are int8; expected a model with fp32 weights"));
  CHECK_THAT(all.told(quantized + "  - id: s\n    distill: {teacher: teacher, student: {from: int8}}\n"),
             Contains("stages[2].distill.student.from: found `int8`"));
  CHECK_THAT(all.told(quantized + "  - id: f\n    finetune: {of: int8}\n"), Contains("stages[2].finetune.of"));
  CHECK_THAT(all.told(quantized + "  - id: q\n    quantize: {of: int8, scheme: fp16}\n"),
             Contains("stages[2].quantize.of"));
  CHECK_THAT(
      all.told(teacher +
               "  - id: q\n    quantize: {of: teacher, scheme: int8_dynamic, ignore: ['*.dense', '*.outputs']}\n"),
      Contains("stages[1].quantize.ignore: found \"*.outputs\", which no linear layer matches; expected a pattern of "
               "names such as bert.encoder.layer.0.attention.self.query in `teacher`"));
  const auto fused = [&](const std::string& of) {
    return all.told("  - id: x\n    export: {of: " + (all.root / of).string() + ", runtime: fused}\n");
  };
  all.write_model("long", {{"max_position_embeddings", 300'000}});
  CHECK(fused("bert") == "");
  CHECK_THAT(fused("long"), Contains("stages[0].export.runtime: found fused, which has no kernels for texts of 300000 "
                                     "tokens; expected portable"));
}

TEST_CASE("what a family, a tokenizer or a task does not allow is told before anything runs") {
  const Preflight all;
  fs::create_directories(all.root / "albert");
  auto config = read_json_file(golden("model/families/albert/config.json"));
  config["vocab_size"] = 600;
  write_file(all.root / "albert/config.json", config.dump());
  fs::copy(golden("tokenizer/unigram_albert/spiece.model"), all.root / "albert");
  fs::copy(golden("model/families/albert/model.safetensors"), all.root / "albert");
  const auto albert = (all.root / "albert").string();
  const auto pruned = [&](const std::string& setting) {
    return all.told("  - id: p\n    prune: {of: " + albert + ", parameter_reduction: 1.5, " + setting + "}\n");
  };
  CHECK(pruned("importance: magnitude") == "");
  CHECK_THAT(pruned("importance: surgeon"),
             Contains("stages[0].prune.importance: found surgeon, but the layers of") && Contains("scored one by one"));
  CHECK_THAT(pruned("reconstruct: rescale"), Contains("stages[0].prune.reconstruct: found rescale"));
  CHECK_THAT(all.told("  - id: v\n    vocabulary: {of: " + albert + "}\n"),
             Contains("stages[0].vocabulary.of: found") && Contains("a sentencepiece model alone"));
  const auto soft = teacher + "  - id: p\n    prune: {of: " + (all.root / "bert").string() +
                    ", heads: 2, labels: teacher, teacher: teacher}\n";
  CHECK(all.told(soft) == "");
  CHECK_THAT(all.told(soft, {}, "regression"),
             Contains("stages[1].prune.labels: found teacher with task regression, expected classification"));
}

TEST_CASE("a model or tokenizer that can't be read, or do not fit each other, is told at the key that names it") {
  const Preflight all;
  all.write_model("few", {{"vocab_size", 10}});
  all.write_model("odd", {{"hidden_act", "mish"}});
  fs::create_directories(all.root / "bare");
  fs::copy(golden("model/tiny/config.json"), all.root / "bare");
  fs::copy(golden("model/tiny/model.safetensors"), all.root / "bare");
  const auto of = [&](const char* name) {
    return all.told("  - id: a\n    finetune: {of: " + (all.root / name).string() + "}\n");
  };
  CHECK_THAT(of("few"),
             Contains("r.yaml:10: stages[0].finetune.of: ") && Contains("the tokenizer does not fit the model"));
  CHECK_THAT(of("odd"), Contains("r.yaml:10: stages[0].finetune.of: ") && Contains("hidden_act: found \"mish\""));
  CHECK_THAT(of("bare"), Contains("r.yaml:10: stages[0].finetune.of: ") && Contains("found no tokenizer"));
}

TEST_CASE("a goal of multiply-adds that the stages' sizes rule out is told before anything runs") {
  const Preflight all;
  const auto told = [&](const std::string& stages, const std::string& least) {
    return all.told(teacher + stages, {"goals={macs: {relative_to: teacher, min_reduction: " + least + "}}"});
  };
  const std::string half = "  - id: half\n    prune: {of: teacher, heads: 2, intermediate_size: 24}\n";
  CHECK(told(half, "1.5") == "");
  CHECK_THAT(told(half, "3"), Contains("goals.macs.min_reduction: found 3, but the stages leave `half` with ") &&
                                  Contains(" times fewer multiply-adds than `teacher`"));
  CHECK_THAT(told("", "1.1"), Contains("leave `teacher` with 1 times fewer"));
  CHECK(told("  - id: half\n    prune: {of: teacher, heads: 5}\n", "3").find("goals.macs") == std::string::npos);
  const auto none = all.told(
      "", {"stages=[]", "goals={macs: {relative_to: " + (all.root / "bert").string() + ", min_reduction: 2}}"});
  CHECK_THAT(none, Contains("stages"));
  CHECK(told("  - id: some\n    prune: {of: teacher, macs_reduction: 1.5}\n", "3") == "");  // scores deal it out
}

TEST_CASE(
    "a folder without the head that a stage or goal takes from it, or without weights, is told before anything runs") {
  const Preflight all;
  const auto bert = (all.root / "bert").string();
  const auto of_bert = [&](const std::string& stage, const std::string& task) {
    return all.told(teacher + "  - id: b\n    " + fmt::format(fmt::runtime(stage), bert) + "\n", {}, task);
  };
  const std::string no_head =
      ": " + bert + ": its head is for classification, not for question_answering; fine-tune it first";
  for (const auto& [key, stage] : std::map<std::string, std::string>{
           {"quantize.of", "quantize: {{of: {}}}"},
           {"export.of", "export: {{of: {}}}"},
           {"prune.of", "prune: {{of: {}, heads: 2}}"},
           {"prune.teacher", "prune: {{of: teacher, heads: 2, labels: teacher, teacher: {}}}"},
           {"distill.teacher", "distill: {{teacher: {}, student: {{from: teacher}}}}"},
           {"distill.teachers[0].model", "distill: {{teachers: [{{model: {}}}], student: {{from: teacher}}}}"},
       }) {
    INFO(key);
    CHECK(of_bert(stage, "classification") == "");
    CHECK_THAT(of_bert(stage, "question_answering"), Contains("stages[1]." + key + no_head));
  }
  // A student gets a new head; a teacher needs none for what its layers say.
  CHECK(of_bert("distill: {{teacher: teacher, student: {{from: {}}}}}", "token_classification") == "");
  CHECK(of_bert("distill: {{teacher: {}, student: {{from: teacher}}, losses: [{{type: hidden_states}}]}}",
                "token_classification") == "");

  const auto goal = [&](const std::string& task) {
    return all.told(teacher, {"goals={accuracy: {relative_to: " + bert + ", max_drop: 0.1}}"}, task);
  };
  CHECK(goal("classification") == "");
  CHECK_THAT(goal("question_answering"), Contains("goals.accuracy.relative_to" + no_head));
  CHECK(all.told(teacher, {"goals={macs: {relative_to: " + bert + ", min_reduction: 1}}"}, "masked_lm") == "");

  const auto classes = message_of<ConfigError>([&] {  // those of the texts are known when a run begins
    auto context = quiet_context({});
    run(parse_recipe(all.text("  - id: b\n    quantize: {of: " + bert + "}\n"), "r.yaml"), context);
  });
  CHECK_THAT(classes, Contains("r.yaml:10: stages[0].quantize.of: " + bert +
                               ": its head is for 3 classes that are not the data's"));

  fs::remove(all.root / "bert/model.safetensors");
  CHECK_THAT(all.told(teacher), Contains("r.yaml:4: model.path: ") && Contains("found no weights"));
  write_file(all.root / "bert/pytorch_model.bin", "x");
  CHECK_THAT(all.told(teacher), Contains("r.yaml:4: model.path: ") && Contains("pytorch_model.bin"));
  write_file(all.root / "bert/model.safetensors", "cut short");
  CHECK_THAT(all.told(teacher), Contains("r.yaml:4: model.path: ") && Contains("model.safetensors"));
}

/// goldens/model/tiny with two added tokens that its table has no rows for.
void write_beyond(const fs::path& folder) {
  fs::create_directories(folder);
  fs::copy(golden("model/tiny"), folder);
  const auto rows = load_model_config(folder).vocab_size;
  const json tokens{{std::to_string(rows), {{"content", "<user>"}, {"special", false}, {"normalized", false}}},
                    {std::to_string(rows + 1), {{"content", "<url>"}, {"special", false}, {"normalized", false}}}};
  write_file(folder / "tokenizer_config.json", json{{"added_tokens_decoder", tokens}}.dump());
}

TEST_CASE("a model whose added tokens have no rows works to the end, but on texts that have them") {
  Preflight all;
  write_beyond(all.root / "beyond");
  const auto beyond = (all.root / "beyond").string();
  const auto stages = R"(  - id: teacher
    finetune: {epochs: 1, batch_size: 4}
  - id: fewer
    vocabulary: {of: teacher}
  - id: shipped
    export: {of: teacher}
)";
  const auto run_with = [&](const std::vector<std::string>& overrides, const std::string& task = "classification") {
    auto all_overrides = overrides;
    all_overrides.push_back("model.path=" + beyond);
    auto context = quiet_context({});
    return run(parse_recipe(all.text(task == "masked_lm" ? "  - id: teacher\n    finetune: {epochs: 8, batch_size: 4}\n"
                                                         : stages,
                                     task),
                            "r.yaml", all_overrides),
               context);
  };
  const auto report = run_with({});
  REQUIRE(report.stages.size() == 3);
  CHECK(report.stages.back().latency.value().median_ms > 0);
  const auto told = std::ranges::count_if(report.warnings, [](const std::string& line) {
    return line.find("2 added tokens have no row") != line.npos && line.find("\"<user>\"") != line.npos;
  });
  CHECK(told == 1);
  CHECK(open_model(all.root / "runs/fewer").warnings.empty());  // they are not among those that stay
  CHECK(run_with({"output=" + (all.root / "mlm").string()}, "masked_lm").stages.size() == 1);

  const auto model = open_model(beyond);
  REQUIRE(model.warnings.size() == 1);
  CHECK(measure_batch(model, 2, 16, 0.01).runs > 0);
  write_file(all.root / "used.jsonl", R"({"text": "the of", "label": "conjunction"}
{"text": "the <user> of", "label": "article"}
)");
  const auto used = (all.root / "used.jsonl").string();
  const auto message = message_of<DataError>(
      [&] { run_with({"data.test={path: " + used + "}", "output=" + (all.root / "used").string()}); });
  CHECK_FALSE(fs::exists(all.root / "used/teacher"));  // told before the first stage, whichever texts have it
  CHECK_THAT(message, Contains("used.jsonl:2: found \"<user>\"") && Contains("which the model has no row for"));
}

TEST_CASE("pairs whose token types have no row are refused before any work, single texts are not") {
  Preflight all;
  all.write_model("one_type", {{"type_vocab_size", 1}});
  const auto stages = "  - id: a\n    finetune: {of: " + (all.root / "one_type").string() + "}\n";
  CHECK(all.told(stages) == "");
  CHECK_THAT(all.told(stages, {"data.train.text_pair=other"}), Contains("token types up to 1 for pairs of texts"));
  CHECK_THAT(all.told(stages, {}, "question_answering"), Contains("token types up to 1 for pairs of texts"));
}

TEST_CASE(
    "an opened model cuts texts to what its folder says, at most to its positions and to what it was trained with") {
  const TemporaryFolder folder;
  fs::copy(golden("sentence/model"), folder.path(), fs::copy_options::recursive);
  const auto longest = [&](const std::map<std::string, json>& files) {
    for (const auto& [name, content] : files) write_file(folder / name, content.dump());
    const auto length = open_model(folder.path()).max_length;
    for (const auto& [name, content] : files) fs::remove(folder / name);
    return length;
  };
  const json text{{"max_seq_length", 6}}, trained{{"max_length", 12}};
  CHECK(longest({}) == 32);
  CHECK(longest({{"tokenizer_config.json", {{"model_max_length", 20}}}}) == 20);
  CHECK(longest({{"tokenizer_config.json", {{"model_max_length", 1000}}}}) == 32);
  CHECK(longest({{"sentence_bert_config.json", text}}) == 6);
  CHECK(longest({{"sentence_bert_config.json", text}, {"tokenizer_config.json", {{"model_max_length", 4}}}}) == 6);
  CHECK(longest({{"sentence_bert_config.json", {{"max_seq_length", 1000}}}}) == 32);
  CHECK(longest({{"compress.json", trained}}) == 12);
  CHECK(longest({{"compress.json", trained}, {"sentence_bert_config.json", text}}) == 6);
  CHECK(longest({{"compress.json", trained}, {"sentence_bert_config.json", {{"max_seq_length", 24}}}}) == 12);
}

}  // namespace
}  // namespace compression::recipes
