// Decoders against transformers (tests/goldens/model/make_goldens.py).
#include "compress/model_folder/language_model_folder.h"

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/families/families.h"
#include "compress/families/model_config.h"
#include "compress/spec/cost.h"
#include "compress/spec/weights.h"
#include "compress/state_dict/state_dict.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
namespace fs = std::filesystem;
using Catch::Contains;

std::vector<std::string> decoder_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden("model/decoders"))) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST_CASE("every decoder is among the goldens") {
  std::set<std::string> types;
  for (const auto& name : decoder_names()) {
    types.insert(read_json_file(golden("model/decoders/" + name) / "config.json").at("model_type"));
  }
  for (const auto& family : families()) {
    if (family.is_decoder()) CHECK(types.contains(std::string(family.model_type)));
  }
}

TEST_CASE("logits and loss of decoders are those of transformers") {
  const auto name = GENERATE(from_range(decoder_names()));
  INFO(name);
  const auto expected = golden_tensors("model/decoders/" + name + ".safetensors");
  auto model = load_language_model(golden("model/decoders/" + name));
  const torch::NoGradGuard no_grad;
  const auto of = [&](const char* tensor) {
    const auto found = expected.find(tensor);
    return found == expected.end() ? torch::Tensor() : found->second;
  };
  const auto ids = of("input_ids"), mask = of("attention_mask"), next_ids = of("decoder_input_ids"),
             next_mask = of("decoder_attention_mask");
  const auto logits = model->forward(ids, mask, next_ids, next_mask);
  const auto& wanted = expected.at("logits");
  const auto& own_mask = model->decoder ? next_mask : mask;
  check_close(logits * own_mask.unsqueeze(-1), wanted, 1e-5 * wanted.abs().max().item<double>());
  check_close(next_word_loss(logits, model->decoder ? next_ids : ids, own_mask), expected.at("loss"), 1e-5);
  // What follows changes nothing of what was.
  const auto part = [](const torch::Tensor& t) { return t.slice(1, 0, 7); };
  const auto shorter = model->decoder ? model->forward(ids, mask, part(next_ids)) : model->forward(part(ids));
  check_close(shorter.slice(1, 0, 3), logits.slice(1, 0, 3), 1e-5);
}

TEST_CASE("who computes an encoder and a decoder is told where the words of one are missing") {
  auto both = load_language_model(golden("model/decoders/bart")),
       one = load_language_model(golden("model/decoders/gpt2"));
  const auto ids = torch::ones({1, 3}, torch::kLong);
  CHECK_THROWS_AS(both->forward(ids), std::invalid_argument);
  CHECK_THROWS_AS(one->forward(ids, {}, ids), std::invalid_argument);
}

TEST_CASE("each weight of an encoder and a decoder has its axes labelled, and each product counts once") {
  const auto config = load_language_config(golden("model/decoders/bart"));
  int64_t matrices = 0;  // numbers of all blocks' matrices
  for (const auto& weight : weights(config)) {
    if (weight.block >= 0 && weight.axes.size() == 2) matrices += static_cast<int64_t>(weight.count());
    if (weight.role == Role::cross_key && !weight.bias) {
      CHECK(weight.block >= static_cast<int64_t>(config.layers.size()));
      CHECK(weight.axes[0].label == Label::cross_heads);
      CHECK(weight.axes[1].label == Label::hidden);
    }
  }
  // Two layers of attention to 20 tokens, three to 20 before and three to 20 of the encoder's, 24 features each.
  CHECK(encoder_macs(config, 20) == 20 * matrices + 2 * 24 * (2 * 20 * 20 + 3 * 20 * 21 / 2 + 3 * 20 * 20));
}

TEST_CASE("the description of a decoder counts its parameters, and comes back from its config.json") {
  const auto name = GENERATE(from_range(decoder_names()));
  INFO(name);
  const auto folder = golden("model/decoders/" + name);
  auto model = load_language_model(folder);
  int64_t count = 0;
  for (const auto& p : model->parameters()) count += p.numel();
  auto config = load_language_config(folder);
  CHECK(parameter_count(config) == count);
  CHECK(encoder_macs(config, 20) > 0);
  config.source = nullptr;
  auto again = read_model_config(write_model_config(config), "config.json");
  again.source = nullptr;
  CHECK(again == config);
}

TEST_CASE("decoders and encoders are told from each other in one line") {
  const auto load = [](const char* name) { return [=] { load_language_model(golden(name)); }; };
  CHECK_THAT(message_of<UnsupportedError>(load("model/tiny")), Contains("found an encoder, bert, expected a decoder"));
  for (const std::string name : {"llama", "bart"}) {
    CHECK_THAT(message_of<UnsupportedError>([&] { load_model(golden("model/decoders/" + name)); }),
               Contains("found a decoder, " + name));
  }
}

TEST_CASE("a decoder's weights are held against its description before they are read") {
  const TemporaryFolder folder;
  const auto from = golden("model/decoders/llama");
  fs::copy(from / "model.safetensors", folder / "model.safetensors");
  const auto told = [&](const std::string& key, const nlohmann::json& value) {
    auto config = read_json_file(from / "config.json");
    config[key] = value;
    std::ofstream(folder / "config.json") << config.dump();
    return message_of<CheckpointError>([&] { load_language_config(folder.path()); });
  };
  CHECK_THAT(told("vocab_size", 61), Contains("embed_tokens.weight: found [60, 24], expected [61, 24]"));
  CHECK_THAT(told("num_hidden_layers", 3), Contains("found no tensor model.layers.2."));
  CHECK_THAT(told("mlp_bias", true), Contains("found no tensor model.layers.0.mlp."));
}

TEST_CASE("a bias of the words is refused where it is not 0") {
  const TemporaryFolder folder;
  const auto from = golden("model/decoders/bart");
  fs::copy(from / "config.json", folder / "config.json");
  auto state = golden_tensors("model/decoders/bart/model.safetensors");
  state.at("final_logits_bias")[0][3] = 0.5;
  write_safetensors(folder / "model.safetensors", state);
  CHECK_THAT(message_of<UnsupportedError>([&] { load_language_model(folder.path()); }),
             Contains("final_logits_bias: found other numbers than 0"));
}

TEST_CASE("options of decoders that are not computed are refused by name") {
  const auto refused = [](const std::string& name, const std::string& key, const nlohmann::json& value) {
    auto config = read_json_file(golden("model/decoders/" + name) / "config.json");
    config[key] = value;
    try {
      read_model_config(config, "config.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK_THAT(refused("llama", "rope_scaling", {{"rope_type", "llama3"}}), Contains("rope_scaling"));
  CHECK_THAT(refused("llama", "rope_parameters", {{"rope_type", "yarn"}}), Contains("rope_type: found \"yarn\""));
  CHECK_THAT(refused("llama", "num_key_value_heads", 3), Contains("num_key_value_heads: found 3"));
  CHECK_THAT(refused("qwen2", "use_sliding_window", true), Contains("use_sliding_window"));
  CHECK_THAT(refused("gpt2", "scale_attn_by_inverse_layer_idx", true), Contains("scale_attn_by_inverse_layer_idx"));
  CHECK_THAT(refused("qwen3", "head_dim", 9), Contains("expected an even size"));
  CHECK_THAT(refused("bart", "decoder_attention_heads", 5), Contains("decoder_attention_heads: found 5"));
  CHECK_THAT(refused("bart", "normalize_before", true), Contains("normalize_before"));
}

}  // namespace
}  // namespace compression
