#include <catch2/catch.hpp>
#include <filesystem>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/families/model_config.h"  // read_model_config, write_model_config
#include "compress/spec/config.h"
#include "tests/support.h"

using namespace compression;
using Catch::Contains;
using compression::testing::blocks;
using nlohmann::json;
using std::filesystem::path;

namespace {

const path goldens = path(COMPRESS_GOLDENS) / "checkpoint";

json usual_json() {
  return read_json_file(goldens / "single/config.json");
}

ModelConfig read(const json& config) {
  return read_model_config(config, "config.json");
}

json with(json config, const std::string& pointer, const json& value) {
  config[json::json_pointer(pointer)] = value;
  return config;
}

json pruned_json() {
  return with(usual_json(), "/compress", json::parse(R"({"format": 1, "attention_head_size": 8, "layers": [
      {"num_attention_heads": 1, "intermediate_size": 20}, {"num_attention_heads": 2, "intermediate_size": 7}]})"));
}

json int8_json() {
  return with(usual_json(), "/quantization_config", json::parse(R"({
      "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
      "config_groups": {"group_0": {"targets": ["Linear"],
          "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false},
          "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "tensor", "dynamic": true}}},
      "ignore": ["classifier"]})"));
}

template <class E>
std::string refusal(const json& config) {
  try {
    read(config);
  } catch (const E& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "nothing was thrown";
}

/// Without what it was read from.
ModelConfig bare(ModelConfig config) {
  config.source = nullptr;
  return config;
}

void check_round_trip(const ModelConfig& config) {
  const auto written = write_model_config(config);
  INFO(written.dump(1));
  CHECK(bare(read(written)) == bare(config));
  CHECK(write_model_config(read(written)) == written);
}

}  // namespace

TEST_CASE("A config of transformers is read") {
  const auto config = read(usual_json());
  CHECK(config.model_type == "bert");
  CHECK(config.vocab_size == 40);
  CHECK(config.hidden_size == 16);
  CHECK(config.attention_head_size() == 8);
  CHECK((config.layers == blocks({{2, 24}, {2, 24}}, 8)));
  CHECK(config.max_position_embeddings == 12);
  CHECK(config.norm.eps == 1e-12);
  CHECK_FALSE(config.classifier_dropout.has_value());
  CHECK(config.labels == std::vector<std::string>{"no", "yes", "maybe"});
  CHECK(config.linear_format == WeightFormat::float32);
}

TEST_CASE("A config of transformers is written as it was read") {
  CHECK(write_model_config(read(usual_json())) == usual_json());
  const auto odd = with(usual_json(), "/something/of/theirs", {1, "two", nullptr});
  CHECK(write_model_config(read(odd)) == odd);
  CHECK(write_model_config(read(pruned_json())) == pruned_json());
  CHECK(write_model_config(read(int8_json())) == int8_json());
}

TEST_CASE("The config of a published checkpoint is read, and written as it was") {
  const path file = path(COMPRESS_SOURCE_DIR) / "models/all-MiniLM-L6-v2/config.json";
  if (!exists(file)) {
    WARN("skipped: " << file << " is not there");
    return;
  }
  const auto config = read_model_config(read_json_file(file), file.string());
  CHECK(config.layers.size() == 6);
  CHECK(config.attention_head_size() == 32);
  CHECK(config.labels.empty());
  CHECK(write_model_config(config) == read_json_file(file));
}

TEST_CASE("Fields that may be absent have the defaults of transformers") {
  const auto config =
      read(json::parse(R"({"model_type": "bert", "vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1,
      "num_attention_heads": 3, "intermediate_size": 5, "pad_token_id": null, "hidden_act": null})"));
  CHECK(bare(config) == ModelConfig{.vocab_size = 9, .hidden_size = 6, .layers = blocks({{3, 5}}, 2)});
}

TEST_CASE("A classifier whose labels transformers did not write has its two default labels") {
  const auto json = read_json_file(goldens / "two_labels/config.json");
  CHECK(read(json).labels == std::vector<std::string>{"LABEL_0", "LABEL_1"});
  CHECK(read(with(json, "/num_labels", 3)).labels.size() == 3);
  CHECK(read(with(json, "/architectures", {"BertModel"})).labels.empty());
}

TEST_CASE("Configs come back from JSON as they were") {
  const ModelConfig usual{.vocab_size = 100, .hidden_size = 32, .layers = blocks({{4, 64}, {4, 64}}, 8)};
  check_round_trip(usual);
  check_round_trip(read(usual_json()));

  auto config = usual;
  config.labels = {"b", "a"};
  config.task = TaskType::classification;
  config.classifier_dropout = 0.25;
  for (auto& layer : config.layers) layer.mlp.activation = Activation::gelu_tanh;
  check_round_trip(config);

  config.layers = blocks({{3, 64}, {4, 10}}, 8, config.layers.front());
  check_round_trip(config);

  config.source = usual_json();
  config.source["hidden_size"] = 32;
  config.source["dtype"] = "float16";
  for (const auto& [linear, linear_name] : enum_names(WeightFormat{})) {
    for (const auto& [embedding, embedding_name] : enum_names(WeightFormat{})) {
      config.linear_format = linear;
      config.embedding_format = embedding;
      check_round_trip(config);
    }
  }
  config.linear_format = WeightFormat::int8;
  for (const auto activations : {ActivationScheme::per_tensor, ActivationScheme::static_per_tensor}) {
    config.activations = activations;
    check_round_trip(config);
  }
  config.labels.clear();
  config.task = TaskType::embedding;
  check_round_trip(config);
}

TEST_CASE("A config without compress is not given one") {
  const auto written = write_model_config(ModelConfig{.hidden_size = 32, .layers = blocks({{4, 64}, {4, 64}}, 8)});
  CHECK_FALSE(written.contains("compress"));
  CHECK_FALSE(written.contains("quantization_config"));
  CHECK(written["num_attention_heads"] == 4);
  CHECK(written["architectures"] == json::array({"BertModel"}));
}

TEST_CASE("The usual fields keep the values of the model that was cut") {
  auto config = read(usual_json());
  config.layers = blocks({{1, 10}}, 8);
  const auto written = write_model_config(config);
  CHECK(written["num_hidden_layers"] == 1);
  CHECK(written["num_attention_heads"] == 2);
  CHECK(written["intermediate_size"] == 24);
  CHECK(written["compress"] == json::parse(R"({"format": 1, "attention_head_size": 8,
      "layers": [{"num_attention_heads": 1, "intermediate_size": 10}]})"));
}

TEST_CASE("Removed layers alone need no compress") {
  auto config = read(usual_json());
  config.layers.pop_back();
  CHECK_FALSE(write_model_config(config).contains("compress"));
  check_round_trip(config);
}

TEST_CASE("A model of another width than its source has usual fields of its own") {
  auto config = read(usual_json());
  config.hidden_size = 12;
  config.layers = blocks({{3, 9}, {3, 9}}, 4);
  const auto written = write_model_config(config);
  CHECK_FALSE(written.contains("compress"));
  CHECK(written["num_attention_heads"] == 3);
  CHECK(written["intermediate_size"] == 9);
}

TEST_CASE("Pruned shapes are read from compress") {
  const auto config = read(pruned_json());
  CHECK((config.layers == blocks({{1, 20}, {2, 7}}, 8)));
  auto odd = with(pruned_json(), "/hidden_size", 15);
  CHECK(read(odd).attention_head_size() == 8);
  odd["compress"].erase("attention_head_size");
  CHECK_THAT(refusal<CheckpointError>(odd),
             Contains("num_attention_heads: found 2, expected a divisor of hidden_size, 15"));
}

TEST_CASE("Formats of weights are read, and make the dtype that is written") {
  const auto half =
      with(usual_json(), "/compress", {{"format", 1}, {"weight_format", "fp16"}, {"embedding_format", "int8"}});
  auto config = read(half);
  CHECK(config.linear_format == WeightFormat::float16);
  CHECK(config.embedding_format == WeightFormat::int8);
  const auto written = write_model_config(config);
  CHECK(written["dtype"] == "float16");
  CHECK(written["torch_dtype"] == "float16");
  config.linear_format = WeightFormat::float32;
  config.source = written;
  CHECK(write_model_config(config)["dtype"] == "float32");
  CHECK(write_model_config(config)["torch_dtype"] == "float32");
}

TEST_CASE("Int8 is read from a quantization_config in the compressed-tensors convention") {
  CHECK(read(int8_json()).linear_format == WeightFormat::int8);
  CHECK(read(int8_json()).activations == ActivationScheme::per_tensor);
  const std::string group = "/quantization_config/config_groups/group_0";
  CHECK(read(with(int8_json(), group + "/input_activations/strategy", "token")).activations ==
        ActivationScheme::per_token);
  for (const auto& [pointer, value] :
       std::map<std::string, json>{{"/quantization_config/quant_method", "gptq"},
                                   {"/quantization_config/format", "pack-quantized"},
                                   {"/quantization_config/config_groups/group_1", json::object()},
                                   {"/quantization_config/ignore", json::array()},
                                   {group + "/targets", json::array({"Embedding"})},
                                   {group + "/weights/num_bits", 4},
                                   {group + "/weights/type", "float"},
                                   {group + "/weights/symmetric", false},
                                   {group + "/weights/strategy", "group"},
                                   {group + "/input_activations", nullptr},
                                   {group + "/input_activations/dynamic", "local"},
                                   {group + "/input_activations/strategy", "block"}}) {
    INFO(pointer);
    CHECK_THAT(refusal<UnsupportedError>(with(int8_json(), pointer, value)),
               Contains("config.json: quantization_config.") && Contains("supported: "));
  }
  auto fixed = with(int8_json(), group + "/input_activations/dynamic", false);
  CHECK(read(fixed).activations == ActivationScheme::static_per_tensor);
  CHECK(write_model_config(read(fixed)) == fixed);
  for (const auto& [key, value] : std::map<std::string, json>{{"strategy", "token"}, {"symmetric", false}}) {
    CHECK_THAT(refusal<UnsupportedError>(with(fixed, group + "/input_activations/" + key, value)),
               Contains("input_activations." + key) && Contains("supported: "));
  }
  const auto ignore = json::array({"bert.pooler.dense", "classifier"});
  const auto mixed = read(with(int8_json(), "/quantization_config/ignore", ignore));
  CHECK(mixed.unquantized == std::vector<std::string>{"bert.pooler.dense"});
  CHECK(write_model_config(mixed)["quantization_config"]["ignore"] == ignore);
  CHECK_THAT(refusal<CheckpointError>(with(int8_json(), "/compress", {{"format", 1}, {"weight_format", "bf16"}})),
             Contains("compress.weight_format is bf16"));
}

TEST_CASE("Sizes that are ill-typed or absurd are refused with file, key, found and expected") {
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    INFO(key);
    auto config = usual_json();
    for (const json& value :
         std::initializer_list<json>{0, -1, 1.5, "16x", "", true, json::array(), uint64_t{1} << 63, 1e300}) {
      config[key] = value;
      CHECK_THAT(refusal<CheckpointError>(config), Contains(std::string("config.json: ") + key + ": found " +
                                                            excerpt(value) + ", expected a whole number from 1 to "));
    }
  }
  CHECK_THAT(refusal<CheckpointError>(json::array()), Contains("config.json: found [], expected an object"));
  CHECK_THAT(refusal<CheckpointError>(with(usual_json(), "/num_attention_heads", 3)),
             Contains("a divisor of hidden_size"));
  CHECK_THAT(refusal<CheckpointError>(with(usual_json(), "/hidden_dropout_prob", 1.5)), Contains("from 0 to 1"));
  CHECK_THAT(refusal<CheckpointError>(with(usual_json(), "/pad_token_id", 40)), Contains("from 0 to 39"));
  CHECK_THAT(refusal<CheckpointError>(with(usual_json(), "/vocab_size", 2147483648)), Contains("parameters"));
  CHECK_THAT(refusal<CheckpointError>(with(usual_json(), "/intermediate_size", 2147483648)), Contains("parameters"));
  CHECK_THAT(refusal<CheckpointError>(with(pruned_json(), "/compress/attention_head_size", 65536)),
             Contains("features"));
  CHECK_THAT(refusal<CheckpointError>(with(usual_json(), "/num_hidden_layers", 1025)), Contains("from 1 to 1024"));
}

TEST_CASE("A compress section that does not fit is refused") {
  CHECK_THAT(refusal<UnsupportedError>(with(pruned_json(), "/compress/format", 2)),
             Contains("compress.format: found 2"));
  CHECK_THAT(refusal<CheckpointError>(with(pruned_json(), "/compress/num_hidden_layers", 2)),
             Contains("expected only"));
  CHECK_THAT(refusal<CheckpointError>(with(pruned_json(), "/num_hidden_layers", 3)),
             Contains("compress.layers: found an array of 2, expected 3, as num_hidden_layers says"));
  CHECK_THAT(refusal<CheckpointError>(with(pruned_json(), "/compress/layers/1/intermediate_size", -1)),
             Contains("compress.layers[1].intermediate_size: found -1"));
  CHECK_THAT(refusal<CheckpointError>(with(pruned_json(), "/compress/layers/0", 5)),
             Contains("compress.layers[0]: found 5"));
  CHECK_THAT(refusal<UnsupportedError>(with(pruned_json(), "/compress/weight_format", "int4")),
             Contains("supported: fp32, fp16, bf16"));
  auto config = pruned_json();
  config["compress"].erase("format");
  CHECK_THAT(refusal<CheckpointError>(config), Contains("compress.format: found nothing"));
}

TEST_CASE("Models of other kinds are refused, and what is supported is named") {
  for (const auto& [key, value, supported] : std::vector<std::tuple<std::string, json, std::string>>{
           {"model_type", "funnel", "bert"},
           {"hidden_act", "mish", "gelu, gelu_new, gelu_pytorch_tanh, relu, silu"},
           {"position_embedding_type", "relative_key", "absolute"},
           {"is_decoder", true, "false"},
           {"add_cross_attention", true, "false"},
           {"position_embedding_type", "relative_key_query", "absolute"}}) {
    CHECK_THAT(refusal<UnsupportedError>(with(usual_json(), "/" + key, value)),
               Contains("config.json: " + key + ": found") && Contains("supported: ") && Contains(supported));
  }
  auto one_label = usual_json();
  one_label["id2label"] = {{"0", "score"}};
  one_label["label2id"] = {{"score", 0}};
  CHECK(read(one_label).task == TaskType::regression);
}

TEST_CASE("The task is what architectures and problem_type say, and comes back") {
  const auto check = [](const json& of, TaskType task, size_t labels) {
    const auto config = read(of);
    INFO(of.dump());
    CHECK(config.task == task);
    CHECK(config.labels.size() == labels);
    const auto again = read(write_model_config(config));
    CHECK(again.task == task);
    CHECK(again.labels == config.labels);
  };
  const auto usual = usual_json();
  check(usual, TaskType::classification, 3);
  check(with(usual, "/problem_type", "single_label_classification"), TaskType::classification, 3);
  check(with(usual, "/problem_type", "multi_label_classification"), TaskType::multi_label, 3);
  check(with(usual, "/architectures", {"BertForTokenClassification"}), TaskType::token_classification, 3);
  check(with(usual, "/architectures", {"BertForQuestionAnswering"}), TaskType::question_answering, 0);
  check(with(usual, "/architectures", {"BertForMaskedLM"}), TaskType::masked_lm, 0);
  auto bare_model = with(usual, "/architectures", {"BertModel"});
  bare_model.erase("id2label");
  bare_model.erase("label2id");
  check(bare_model, TaskType::embedding, 0);
}

TEST_CASE("Fields of the head that say the same twice, or contradict it, do not matter, and contradictions are told") {
  const std::vector<std::string> usual{"no", "yes", "maybe"};
  const auto check = [&](const json& of, const std::vector<std::string>& labels, const std::string& note) {
    INFO(of.dump());
    std::vector<std::string> notes;
    CHECK(read_model_config(of, "config.json", &notes).labels == labels);
    CHECK(notes == (note.empty() ? std::vector<std::string>{} : std::vector<std::string>{note}));
  };
  const auto given = usual_json();
  check(given, usual, "");
  for (const json& ids : std::initializer_list<json>{
           {{"no", "0"}, {"yes", "1"}, {"maybe", "2"}}, nullptr, json::object(), json::array(), "x", {{"no", "x"}}}) {
    check(with(given, "/label2id", ids), usual, "");
  }
  check(with(given, "/label2id/no", 2), usual, R"(label2id: found 2 for "no", unlike id2label, which holds)");
  check(with(given, "/label2id/extra", 3), usual, R"(label2id: found 3 for "extra", unlike id2label, which holds)");
  check(with(given, "/num_labels", 4), usual, "num_labels: found 4, but id2label has 3 names, which hold");
  check(with(given, "/num_labels", 3), usual, "");
  check(with(given, "/_num_labels", 7), usual, "");
  check(with(given, "/problem_type", "ranking"), usual,
        R"(problem_type: found "ranking", which is left out: it is none of transformers')");
}

TEST_CASE("Names of classes may be numbers, twice the same, absent, or have gaps") {
  auto config = usual_json();
  config.erase("label2id");
  const auto labels = [&](const json& names) {
    config["id2label"] = names;
    return read(config).labels;
  };
  using Names = std::vector<std::string>;
  CHECK(labels({{"0", 0}, {"1", 1.5}, {"2", true}}) == Names{"0", "1.5", "true"});
  CHECK(labels({{"0", "a"}, {"1", "a"}}) == Names{"a", "a"});
  CHECK(labels({{"0", nullptr}, {"1", "b"}}) == Names{"LABEL_0", "b"});
  CHECK(labels({{"0", "a"}, {"2", "b"}, {"5", "c"}}) == Names{"a", "LABEL_1", "b"});  // three, as in transformers
  CHECK(labels({{"1", "a"}, {"2", "b"}}) == Names{"LABEL_0", "a"});
  CHECK(labels(nullptr) == Names{"LABEL_0", "LABEL_1"});
  CHECK(labels(json::object()) == Names{"LABEL_0", "LABEL_1"});
  config["num_labels"] = 4;
  CHECK(labels({{"0", "a"}, {"3", "b"}}) == Names{"a", "LABEL_1", "LABEL_2", "b"});
  CHECK(labels(nullptr).size() == 4);
  std::vector<std::string> notes;
  config["id2label"] = {{"1", "a"}, {"2", "b"}};
  read_model_config(config, "config.json", &notes);
  REQUIRE(notes.size() == 1);
  CHECK_THAT(notes.front(), Contains("id2label: found names for the ids 1, 2, expected 0 to 1"));
  config["id2label"] = {{"-1", "a"}};
  CHECK_THAT(refusal<CheckpointError>(config), Contains("id2label: found the id \"-1\""));
  config["id2label"] = {{"0", json::array()}};
  CHECK_THAT(refusal<CheckpointError>(config), Contains("id2label.0: found [], expected a name"));
  config["id2label"] = {"a", "b"};
  CHECK_THAT(refusal<CheckpointError>(config), Contains("id2label: found"));
}

TEST_CASE("Numbers may be written as texts, whole ones with a point, and flags as numbers") {
  auto config = usual_json();
  for (const auto& [key, value] : std::map<std::string, json>{{"vocab_size", 40.0},
                                                              {"hidden_size", "16"},
                                                              {"num_hidden_layers", " 2 "},
                                                              {"num_attention_heads", 2.0},
                                                              {"intermediate_size", "24"},
                                                              {"layer_norm_eps", "1e-12"},
                                                              {"hidden_dropout_prob", "0.1"},
                                                              {"is_decoder", 0},
                                                              {"add_cross_attention", "false"},
                                                              {"hidden_act", "gelu_python"},
                                                              {"pad_token_id", "0"}}) {
    config[key] = value;
  }
  CHECK(bare(read(config)) == bare(read(usual_json())));
  CHECK(bare(read(write_model_config(read(config)))) == bare(read(usual_json())));
  CHECK(read(with(config, "/hidden_act", "gelu_fast")).hidden_act() == Activation::gelu_tanh);
  CHECK(write_model_config(read(with(config, "/hidden_act", "gelu_fast"))).at("hidden_act") == "gelu_fast");
  CHECK_THAT(refusal<UnsupportedError>(with(config, "/is_decoder", 1)), Contains("is_decoder"));
  for (const json& value : std::initializer_list<json>{"nan", "inf", "", "1e-12x", "1 2", json::array()}) {
    CHECK_THAT(refusal<CheckpointError>(with(config, "/layer_norm_eps", value)),
               Contains("layer_norm_eps: found " + excerpt(value)));
  }
}

TEST_CASE("The family of a config without model_type is that of its class") {
  auto config = usual_json();
  config.erase("model_type");
  CHECK(read(config).model_type == "bert");
  for (const auto& [name, type] : std::map<std::string, std::string>{{"RobertaForMaskedLM", "roberta"},
                                                                     {"XLMRobertaModel", "xlm-roberta"},
                                                                     {"DebertaV2ForQuestionAnswering", "deberta-v2"},
                                                                     {"ElectraForPreTraining", "electra"}}) {
    config["architectures"] = json::array({name});
    CHECK(read(config).model_type == type);
    config["architectures"] = name;  // not in a list
    CHECK(read(config).model_type == type);
  }
  config["architectures"] = {"FunnelModel"};
  CHECK_THAT(refusal<CheckpointError>(config), Contains("model_type: found nothing"));
}

TEST_CASE("Heads that transformers has pruned are gone") {
  auto config = usual_json();
  config["pruned_heads"] = json::object();
  CHECK((read(config).layers == read(usual_json()).layers));
  config["pruned_heads"] = {{"0", json::array()}};
  CHECK((read(config).layers == read(usual_json()).layers));
  config["pruned_heads"] = {{"1", {1}}};
  CHECK((read(config).layers == blocks({{2, 24}, {1, 24}}, 8)));
  check_round_trip(read(config));
  CHECK_FALSE(write_model_config(read(config)).contains("pruned_heads"));
  config["pruned_heads"] = {{"1", {0, 1, 1}}};
  CHECK((read(config).layers == blocks({{2, 24}, {0, 24}}, 8)));
  config["pruned_heads"] = {{"2", {0}}};
  CHECK_THAT(refusal<CheckpointError>(config), Contains("pruned_heads: found layer \"2\", expected 0 to 1"));
  config["pruned_heads"] = {{"1", {2}}};
  CHECK_THAT(refusal<CheckpointError>(config), Contains("pruned_heads.1: found 2, expected heads from 0 to 1"));
}

TEST_CASE("The usual fields are never 0, whatever layers have lost") {
  auto config = read(usual_json());
  config.hidden_size = 12;  // another width than the source's: the layers' own shapes are what is left to say
  for (const auto& layers : {blocks({{0, 0}, {0, 0}}, 8), blocks({{0, 7}, {2, 0}}, 8), blocks({{0, 24}, {1, 24}}, 8),
                             blocks({{3, 0}, {0, 0}}, 8)}) {
    config.layers = layers;
    const auto written = write_model_config(config);
    CHECK(written["num_attention_heads"] > 0);
    CHECK(written["intermediate_size"] > 0);
    check_round_trip(config);
  }
  for (const auto* key : {"num_attention_heads", "intermediate_size"}) {
    CHECK_THAT(refusal<CheckpointError>(with(pruned_json(), std::string("/") + key, 0)), Contains("expected a whole"));
  }
}

TEST_CASE("No value anywhere in a config does more than to be refused") {
  auto whole = int8_json();
  whole.update(pruned_json());
  const std::vector<json> values{nullptr,
                                 true,
                                 0,
                                 -1,
                                 3,
                                 1e300,
                                 uint64_t{1} << 63,
                                 "",
                                 "x",
                                 json::array(),
                                 json::object(),
                                 json::array({1, "a", nullptr}),
                                 {{"0", 0}}};
  const auto flat = whole.flatten();
  for (const auto& [pointer, old] : flat.items()) {
    for (auto at = json::json_pointer(pointer); !at.empty(); at.pop_back()) {
      for (const auto& value : values) {
        INFO(at.to_string() << " = " << value.dump());
        try {
          check_round_trip(read(with(whole, at.to_string(), value)));
        } catch (const Error&) {
          SUCCEED();
        }
      }
    }
  }
}
