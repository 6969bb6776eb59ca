// Decoders against transformers (tests/goldens/model/make_goldens.py).
#include "compress/model_folder/language_model_folder.h"

#include <fmt/format.h>

#include <cmath>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/evaluate/perplexity.h"
#include "compress/families/families.h"
#include "compress/families/model_config.h"
#include "compress/model_folder/joined.h"
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

TEST_CASE("the perplexity of texts is that of transformers' losses, however they are put together") {
  const auto name = GENERATE(as<std::string>(), "gpt2", "llama", "mistral", "opt");
  INFO(name);
  const auto expected = golden_tensors("model/decoders/" + name + ".safetensors");
  auto model = load_language_model(golden("model/decoders/" + name));
  std::vector<std::vector<int64_t>> documents;
  for (int64_t i = 0; i < expected.at("input_ids").size(0); ++i) {
    const auto real = expected.at("input_ids")[i].masked_select(expected.at("attention_mask")[i].to(torch::kBool));
    documents.emplace_back(real.data_ptr<int64_t>(), real.data_ptr<int64_t>() + real.numel());
  }
  const auto context = quiet_context({});
  const auto all = perplexity(model, documents, 20, context);
  CHECK(all.loss == Approx(expected.at("loss").item<double>()).epsilon(1e-5));
  CHECK(all.value() == Approx(std::exp(all.loss)));
  CHECK(all.windows == static_cast<int64_t>(documents.size()));
  CHECK(all.predicted == all.tokens - all.windows);

  // Windows know nothing of each other.
  double sum = 0.0;
  int64_t predicted = 0;
  std::vector<std::vector<int64_t>> parts;
  for (const auto& document : documents) {
    for (size_t first = 0; first < document.size(); first += 7) {
      const auto last = std::min(first + 7, document.size());
      parts.emplace_back(document.begin() + static_cast<int64_t>(first), document.begin() + static_cast<int64_t>(last));
      if (parts.back().size() < 2) continue;
      const auto alone = perplexity(model, {parts.back()}, 7, context);
      sum += alone.loss * static_cast<double>(alone.predicted);
      predicted += alone.predicted;
    }
  }
  const auto cut = perplexity(model, documents, 7, context);
  CHECK(cut.predicted == predicted);
  CHECK(cut.loss == Approx(sum / static_cast<double>(predicted)).epsilon(1e-6));

  CHECK_THROWS_AS(perplexity(model, documents, 1, context), ConfigError);
  CHECK_THROWS_AS(perplexity(model, documents, 1000, context), UnsupportedError);
  CHECK_THROWS_AS(perplexity(model, {{5}, {}}, 7, context), DataError);
  CHECK_THROWS_WITH(perplexity(model, {{5, 6}, {7, 60}}, 7, context),
                    "document 2: found the id 60, expected ids below 60, the model's words");
}

TEST_CASE("a GGUF file of a decoder gives the logits of the folder that it was made of") {
  const auto name = GENERATE(as<std::string>(), "llama", "gemma3");
  INFO(name);
  const auto expected = golden_tensors("model/decoders/" + name + ".safetensors");
  auto model = load_language_model(golden("gguf/model_" + name + ".gguf"));
  const torch::NoGradGuard no_grad;
  const auto& mask = expected.at("attention_mask");
  const auto logits = model->forward(expected.at("input_ids"), mask) * mask.unsqueeze(-1);
  check_close(logits, expected.at("logits"), 1e-5 * expected.at("logits").abs().max().item<double>());
}

TEST_CASE("Gemma's config.json of transformers 4 says the same of local layers") {
  auto old = read_json_file(golden("model/decoders/gemma3/config.json"));
  for (const auto* key : {"layer_types", "rope_parameters"}) old.erase(key);
  old.update({{"sliding_window_pattern", 3}, {"rope_theta", 500.0}, {"rope_local_base_freq", 50.0}});
  const auto config = read_model_config(old, "config.json");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const auto& attention = config.layers[i].attention;
    const bool local = i != 2 && i != 5;
    CHECK(attention.window == (local ? 4 : 0));  // five tokens with its own
    CHECK(attention.rotary_base == (local ? 50.0 : 500.0));
  }
  for (const auto* key : {"sliding_window_pattern", "rope_theta", "rope_local_base_freq", "head_dim"}) old.erase(key);
  const auto defaults = read_model_config(old, "config.json");
  CHECK(defaults.layers[4].attention.rotary_base == 1e4);
  CHECK(defaults.layers[5].attention.rotary_base == 1e6);
  CHECK(defaults.layers[5].attention.window == 0);
  CHECK(defaults.attention_head_size() == 256);
}

TEST_CASE("Gemma's caps are those that transformers has where config.json says nothing, and none where it says null") {
  auto json = read_json_file(golden("model/decoders/gemma2/config.json"));
  const auto caps = [&] {
    const auto config = read_model_config(json, "config.json");
    return std::pair(config.layers.back().attention.score_cap, config.logit_cap);
  };
  CHECK(caps() == std::pair(4.0, 3.0));
  for (const auto* key : {"attn_logit_softcapping", "final_logit_softcapping"}) json[key] = nullptr;
  CHECK(caps() == std::pair(0.0, 0.0));
  for (const auto* key : {"attn_logit_softcapping", "final_logit_softcapping"}) json.erase(key);
  CHECK(caps() == std::pair(50.0, 30.0));
}

TEST_CASE("norms that are stored less 1 are read and written so, in any dtype") {
  const auto folder = golden("model/decoders/gemma3");
  const auto config = load_language_config(folder);
  StoredState state;
  StateDict written;
  const std::string norm = "model.layers.1.post_feedforward_layernorm.weight",
                    matrix = "model.layers.1.mlp.up_proj.weight";
  for (const auto& [name, tensor] : golden_tensors("model/decoders/gemma3/model.safetensors")) {
    state.emplace(name, StoredTensor(tensor.to(torch::kBFloat16)));
  }
  const auto stored = state.at(norm).read(), stored_matrix = state.at(matrix).read();
  take_apart(config, state, "folder");
  CHECK(torch::equal(state.at(norm).read(), stored.to(torch::kFloat) + 1.0));
  CHECK(torch::equal(state.at(matrix).read(), stored_matrix));
  for (const auto& [name, tensor] : state) written[name] = tensor.read();
  put_together(config, written);
  check_close(written.at(norm), stored.to(torch::kFloat), 1e-6);
  CHECK(torch::equal(written.at(matrix), stored_matrix));
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

TEST_CASE("tensors that a decoder has no place for are told, but for buffers that follow from the config") {
  const std::string name = GENERATE("gpt2", "llama", "bart");
  const auto from = golden("model/decoders/" + name);
  const TemporaryFolder folder;
  fs::copy(from / "config.json", folder / "config.json");
  const auto told = [&](const std::string& tensor) {
    auto state = read_state_dict(from);
    if (!tensor.empty()) state[tensor] = torch::ones({2});
    write_safetensors(folder / "model.safetensors", state);
    std::vector<std::string> of_model, of_config;
    load_language_model(folder.path(), &of_model);
    load_language_config(folder.path(), &of_config);
    CHECK(of_model == of_config);
    return of_model;
  };
  CHECK(told("").empty());
  CHECK(told("model.layers.0.self_attn.rotary_emb.inv_freq").empty());
  CHECK(told("transformer.h.1.attn.bias").empty() == (name == "gpt2"));
  REQUIRE(told("adapter.weight").size() == 1);
  CHECK_THAT(told("adapter.weight").front(), Contains("1 tensor in excess is ignored") && Contains("adapter.weight"));
}

TEST_CASE("the description of a decoder without the matrix of its head tells what loading it tells") {
  const auto from = golden("model/decoders/llama");
  const TemporaryFolder folder;
  auto state = read_state_dict(from);
  REQUIRE(state.erase("lm_head.weight") == 1);
  write_safetensors(folder / "model.safetensors", state);
  auto config = read_json_file(from / "config.json");
  const auto with_class = [&](const std::string& architecture) {
    config["architectures"] = {architecture};
    write_file(folder / "config.json", config.dump());
  };
  with_class("LlamaForCausalLM");
  const auto message = message_of<CheckpointError>([&] { load_language_model(folder.path()); });
  CHECK_THAT(message, Contains("found no tensor lm_head.weight, expected one of [60, 24]"));
  CHECK(message_of<CheckpointError>([&] { load_language_config(folder.path()); }) == message);
  with_class("LlamaModel");
  CHECK(load_language_config(folder.path()).language_head == LanguageHead::none);
}

TEST_CASE("tensors that hold several of ours are told by the names and sizes that the file has") {
  const std::string name = GENERATE("gpt2", "mpt");
  const bool turned = name == "gpt2";
  const std::string whole = turned ? "transformer.h.1.attn.c_attn.weight" : "transformer.blocks.1.attn.Wqkv.weight";
  const auto from = golden("model/decoders/" + name);
  const TemporaryFolder folder;
  fs::copy(from / "config.json", folder / "config.json");
  const auto told = [&](const torch::Tensor& tensor) {
    auto state = read_state_dict(from);
    state.erase(whole);
    if (tensor.defined()) state[whole] = tensor;
    write_safetensors(folder / "model.safetensors", state);
    return message_of<CheckpointError>([&] { load_language_model(folder.path()); });
  };
  const auto shown = [&](int64_t out, int64_t in) {
    return turned ? fmt::format("[{}, {}]", in, out) : fmt::format("[{}, {}]", out, in);
  };
  const auto matrix = [&](int64_t out, int64_t in) { return turned ? torch::ones({in, out}) : torch::ones({out, in}); };
  CHECK_THAT(told({}), Contains("found no tensor " + whole + ", expected one of " + shown(72, 24)));
  CHECK_THAT(told(matrix(71, 24)),
             Contains("tensor " + whole + ": found " + shown(71, 24) + ", expected " + shown(72, 24)));
  CHECK_THAT(told(matrix(72, 23)),
             Contains("tensor " + whole + ": found " + shown(72, 23) + ", expected " + shown(72, 24)));
  auto odd = matrix(72, 24);
  odd[1][1] = std::nan("");
  CHECK_THAT(told(odd), Contains("tensor " + whole + ": found nan"));
}

TEST_CASE("a class of a decoder with another head is read without it, and is no language model") {
  const TemporaryFolder folder;
  const auto from = golden("model/decoders/bart");
  fs::copy(from / "model.safetensors", folder / "model.safetensors");
  const auto with_class = [&](const std::string& name) {
    auto config = read_json_file(from / "config.json");
    config["architectures"] = {name};
    write_file(folder / "config.json", config.dump());
    return load_language_config(folder.path());
  };
  for (const auto* other : {"BartForSequenceClassification", "BartForQuestionAnswering"}) {
    const auto config = with_class(other);
    CHECK(config.language_head == LanguageHead::none);
    CHECK(foreign_head(config) == other);
    CHECK_THAT(message_of<UnsupportedError>([&] { load_language_model(folder.path()); }),
               Contains(std::string("architectures: found ") + other + ", supported: a class for language modelling"));
  }
  for (const auto* own : {"BartForConditionalGeneration", "BartForCausalLM", "GPT2LMHeadModel", "BartModel"}) {
    CHECK(with_class(own).language_head == LanguageHead::tied);
    CHECK(foreign_head(with_class(own)).empty());
  }
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
  CHECK_THAT(refused("gemma3", "use_bidirectional_attention", true), Contains("use_bidirectional_attention"));
  CHECK_THAT(refused("gemma3", "attn_logit_softcapping", 50.0), Contains("attn_logit_softcapping: found 50.0"));
  CHECK_THAT(refused("gemma2", "final_logit_softcapping", -1), Contains("final_logit_softcapping: found -1"));
  CHECK_THAT(refused("gemma3", "rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}), Contains("rope_scaling"));
  CHECK_THAT(refused("gemma3", "layer_types", {"full_attention"}), Contains("layer_types: found 1 layers, expected 6"));
  CHECK_THAT(refused("gemma3", "model_type", "gemma3"), Contains("model_type: found \"gemma3\", supported: "));
}

}  // namespace
}  // namespace compression
