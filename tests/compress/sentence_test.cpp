// Folders of sentence-transformers. The goldens come from tests/goldens/sentence/make_goldens.py.
#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/model/resize.h"
#include "compress/model_files/sentence_modules.h"
#include "compress/model_folder/sentence_transformers.h"
#include "compress/spec/cost.h"
#include "compress/tokenizer/sentence_settings.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

const json& goldens() {
  static const json all = json::parse(std::ifstream(golden("sentence/cases.json")));
  return all;
}

const json& case_called(const std::string& name) {
  for (const json& each : goldens().at("cases")) {
    if (each.at("name") == name) return each;
  }
  throw std::logic_error(name);
}

void write_case(const json& entry, const fs::path& folder) {
  const auto& files = entry.at("files");
  for (const json& module : files.at("modules.json")) {
    fs::create_directories(folder / module.at("path").get<std::string>());
  }
  const auto encoder = folder / files.at("modules.json").at(0).at("path").get<std::string>();
  fs::copy(golden("sentence/model"), encoder, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  for (const auto& [path, content] : files.items()) write_file(folder / path, content.dump());
  for (const auto& [path, weights] : entry.at("dense").items()) {
    StateDict state;
    for (const auto& [name, values] : weights.items()) {
      const bool matrix = values.front().is_array();
      std::vector<float> flat;
      for (const json& row : values) {
        for (const json& value : matrix ? row : json::array({row})) flat.push_back(value.get<float>());
      }
      const auto tensor = torch::tensor(flat);
      state[name] = matrix ? tensor.view({static_cast<int64_t>(values.size()), -1}).clone() : tensor;
    }
    write_state_dict(folder / path, state);
  }
}

torch::Tensor expected_of(const json& entry) {
  std::vector<float> flat;
  for (const json& row : entry.at("vectors")) {
    for (const json& value : row) flat.push_back(value.get<float>());
  }
  return torch::tensor(flat).view({static_cast<int64_t>(entry.at("vectors").size()), -1});
}

/// All texts in one batch, cut as the folder says.
Batch batch_of(const Tokenizer& tokenizer, int64_t longest) {
  const auto limit = std::min(longest, tokenizer.sentence().max_length.value_or(longest));
  std::vector<Encoding> encodings;
  for (const json& text : goldens().at("texts")) {
    encodings.push_back(tokenizer.encode({text.get<std::string>(), {}}, {.max_length = limit, .sentence = true}));
  }
  size_t width = 0;
  for (const auto& encoding : encodings) width = std::max(width, encoding.input_ids.size());
  const auto rows = static_cast<int64_t>(encodings.size());
  Batch batch;
  batch["input_ids"] = torch::full({rows, static_cast<int64_t>(width)}, tokenizer.pad_id(), torch::kLong);
  batch["attention_mask"] = torch::zeros_like(batch.input_ids());
  batch["token_type_ids"] = torch::zeros_like(batch.input_ids());
  for (int64_t i = 0; i < rows; ++i) {
    const auto& ids = encodings[static_cast<size_t>(i)].input_ids;
    batch.input_ids()[i].slice(0, 0, static_cast<int64_t>(ids.size())).copy_(torch::tensor(ids));
    batch.attention_mask()[i].slice(0, 0, static_cast<int64_t>(ids.size())).fill_(1);
  }
  return batch;
}

torch::Tensor vectors_of(const fs::path& folder, std::optional<Arithmetic> fused = std::nullopt) {
  const at::NoGradGuard no_grad;
  auto model = load_model(folder).model;
  model->set_fused(fused);
  return model->forward(batch_of(*load_tokenizer(folder), model->config().max_length())).logits;
}

TEST_CASE("a folder of sentence-transformers gives its vectors, in both forms, and again when it is saved") {
  for (const json& entry : goldens().at("cases")) {
    INFO(entry.at("name"));
    const TemporaryFolder folder, saved;
    write_case(entry, folder.path());
    const auto expected = expected_of(entry);
    check_close(vectors_of(folder.path()), expected, 2e-6);
    check_close(vectors_of(folder.path(), Arithmetic::float32), expected, 2e-6);
    const auto model = load_model(folder.path()).model;
    CHECK(model->config().task == TaskType::embedding);
    CHECK(model->config().embedding_width() == expected.size(1));
    int64_t count = 0;
    for (const auto& p : model->parameters()) count += p.numel();
    CHECK(parameter_count(model->config()) == count);

    save_model(model, *load_tokenizer(folder.path()), saved.path());
    check_close(vectors_of(saved.path()), expected, 2e-6);
    const auto again = load_model(saved.path()).model;
    CHECK(again->config().embedding == model->config().embedding);
    CHECK(fs::exists(saved / "sentence_bert_config.json"));
    CHECK_FALSE(module_files(saved.path()).empty());
    for (const auto& [name, tensor] : read_state_dict(saved.path())) CHECK_FALSE(name.starts_with("head."));
  }
}

TEST_CASE("a model for embedding of no such folder is saved as what it computes: the mean, of norm 1") {
  const TemporaryFolder saved;
  const auto folder = golden("sentence/model");
  save_model(load_model(folder).model, *load_tokenizer(folder), saved.path());
  const auto modules = read_json_file(saved / "modules.json");
  REQUIRE(modules.size() == 3);
  CHECK(modules[1].at("type") == "sentence_transformers.models.Pooling");
  CHECK(modules[2].at("type") == "sentence_transformers.models.Normalize");
  CHECK(fs::is_directory(saved / "2_Normalize"));
  const auto pooling = read_json_file(saved / "1_Pooling/config.json");
  CHECK(pooling.at("pooling_mode_mean_tokens") == true);
  CHECK(pooling.at("word_embedding_dimension") == 12);
  CHECK(read_json_file(saved / "sentence_bert_config.json").at("max_seq_length") == 32);
  check_close(vectors_of(saved.path()), expected_of(case_called("mean")), 2e-6);
}

TEST_CASE("prompts, keys of newer versions and the length that a recipe cut to are kept in a saved folder") {
  const TemporaryFolder folder, saved;
  write_case(case_called("a default prompt"), folder.path());
  save_model(load_model(folder.path()).model, *load_tokenizer(folder.path()), saved.path());
  const auto prompts = read_json_file(saved / "config_sentence_transformers.json");
  CHECK(prompts.at("prompts").at("query") == "Query: ");
  CHECK(prompts.at("similarity_fn_name") == "cosine");
  limit_sentence_length(saved.path(), 64);
  CHECK(read_sentence_settings(saved.path()).max_length == 10);
  limit_sentence_length(saved.path(), 7);
  const auto settings = read_sentence_settings(saved.path());
  CHECK(settings.max_length == 7);
  CHECK(settings.lower_case);
  CHECK(settings.prompt == "Query: ");
}

TEST_CASE("narrower models keep the hidden dimensions of each pooling that is concatenated") {
  const TemporaryFolder folder;
  write_case(case_called("norm, then dense of two poolings"), folder.path());
  const auto model = load_model(folder.path()).model;
  const auto kept = torch::tensor({0, 3, 7});
  const auto narrow =
      resized(model, with_hidden_size(model->config(), 3), [&](Label, int64_t all, int64_t count, int64_t) {
        REQUIRE((all == 12 && count == 3));
        return kept;
      });
  CHECK(narrow->config().embedding.steps[1].in == 6);
  const auto rows = torch::tensor({0, 3, 7, 12, 15, 19});
  CHECK(torch::equal(state_dict(*narrow).at("head.dense_1.weight"),
                     state_dict(*model).at("head.dense_1.weight").index_select(1, rows)));
}

TEST_CASE("modules that are not supported are named when a model for embedding is wanted, and only then") {
  const auto refusal = [](const std::function<void(json&)>& change) {
    const TemporaryFolder folder;
    auto entry = case_called("dense");
    change(entry.at("files"));
    write_case(entry, folder.path());
    const TaskHead classes{{"a", "b"}, TaskType::classification};
    CHECK_NOTHROW(load_model(folder.path(), {.head = classes, .new_head = true}));
    const auto message = message_of<UnsupportedError>([&] { load_model(folder.path()); });
    CHECK(message.find('\n') == std::string::npos);
    return message;
  };
  const auto set = [](const char* file, const char* key, json value) {
    return [=](json& files) { files.at(file)[key] = value; };
  };
  CHECK_THAT(refusal(set("2_Dense/config.json", "activation_function", "my.Activation")),
             Contains("2_Dense/config.json: activation_function: found \"my.Activation\", supported: "));
  CHECK_THAT(refusal(set("2_Dense/config.json", "use_residual", true)), Contains("use_residual: found true"));
  CHECK_THAT(refusal(set("2_Dense/config.json", "module_input_name", "token_embeddings")),
             Contains("module_input_name: found \"token_embeddings\""));
  CHECK_THAT(refusal(set("1_Pooling/config.json", "pooling_mode", "median")),
             Contains("pooling_mode: found \"median\", supported: cls, max, mean"));
  CHECK_THAT(refusal(set("sentence_bert_config.json", "transformer_task", "fill-mask")), Contains("transformer_task"));
  CHECK_THAT(refusal([](json& files) { files["modules.json"][2]["type"] = "sentence_transformers.models.LSTM"; }),
             Contains("modules.json: [2].type: found \"sentence_transformers.models.LSTM\""));
  CHECK_THAT(refusal([](json& files) {
               files["1_Pooling/config.json"]["include_prompt"] = false;
               files["config_sentence_transformers.json"] = {{"prompts", {{"q", "query: "}}},
                                                             {"default_prompt_name", "q"}};
             }),
             Contains("include_prompt: found false"));
}

TEST_CASE("damaged files of sentence-transformers are told with file and key") {
  const auto error = [](const std::function<void(json&)>& change) {
    const TemporaryFolder folder;
    auto entry = case_called("dense");
    change(entry.at("files"));
    write_case(entry, folder.path());
    return message_of<CheckpointError>([&] { load_model(folder.path()); });
  };
  CHECK_THAT(error([](json& files) { files["2_Dense/config.json"]["in_features"] = "x"; }),
             Contains("2_Dense/config.json: in_features: found \"x\", expected a whole number"));
  CHECK_THAT(error([](json& files) { files["2_Dense/config.json"]["in_features"] = 9; }),
             Contains("a dense module of 9 features, expected 12"));
  CHECK_THAT(error([](json& files) { files["modules.json"][1].erase("type"); }), Contains("modules.json: [1].type"));
  CHECK_THAT(error([](json& files) { files["modules.json"][1]["path"] = "../1_Pooling"; }),
             Contains("expected a folder in this one"));
  CHECK_THAT(error([](json& files) { files["1_Pooling/config.json"]["pooling_mode_cls_token"] = 1; }),
             Contains("expected true or false"));
}

}  // namespace
}  // namespace compression
