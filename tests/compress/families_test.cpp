// Every model family against transformers: random small models with odd options (goldens/model/families).
#include "compress/families/families.h"
#include "compress/families/model_config.h"  // read_model_config, write_model_config

#include <set>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/families/name_table.h"
#include "compress/model/fused.h"
#include "compress/model/relative_positions.h"
#include "compress/model_folder/joined.h"
#include "compress/spec/cost.h"
#include "compress/spec/relative_rows.h"
#include "compress/spec/weights.h"
#include "compress/state_dict/state_dict.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;
using nlohmann::json;

std::filesystem::path folder_of(const std::string& family) {
  return golden("model/families/" + family);
}

Model load(const std::string& family) {
  return load_model(folder_of(family)).model;
}

json config_of(const std::string& family) {
  return read_json_file(folder_of(family) / "config.json");
}

ModelConfig read(const json& config) {
  return read_model_config(config, "config.json");
}

template <class E>
std::string refusal(const std::string& family, const std::string& key, const json& value) {
  auto config = config_of(family);
  config[key] = value;
  const auto message = message_of<E>([&] { read(config); });
  CHECK(message.find('\n') == std::string::npos);
  return message;
}

/// Of the padded batch, what is not padding.
torch::Tensor real_part(const torch::Tensor& states, const torch::Tensor& mask) {
  return states * mask.unsqueeze(-1).to(torch::kFloat);
}

TEST_CASE("a network that was cut to any hidden size is written and read again, in every family") {
  for (const auto& name : family_names()) {
    CAPTURE(name);
    auto config = load_model_config(golden("model/families/" + name));
    if (name == "deberta-v2") {  // keys that some of its files have
      config.source["embedding_size"] = config.source["pooler_hidden_size"] = config.hidden_size;
      config.source["attention_head_size"] = config.attention_head_size();
    }
    for (int64_t less = 1; less < 9; ++less) {
      const auto cut = with_hidden_size(config, config.hidden_size - less);
      auto again = read_model_config(write_model_config(cut), "config.json");
      CHECK(again.hidden_size == cut.hidden_size);
      CHECK((again.layers == cut.layers));
    }
  }
}

TEST_CASE("hidden states of all-mpnet-base-v2 equal those of transformers", "[real]") {
  if (!has_real_model("all-mpnet-base-v2")) return;
  const auto folder = std::filesystem::path(COMPRESS_SOURCE_DIR) / "models/all-mpnet-base-v2";
  const auto expected = golden_tensors("model/mpnet.safetensors");
  auto model = load_model(folder, {.head = TaskHead{{"a", "b"}}, .new_head = true}).model;
  const auto batch = golden_batch(expected);
  const at::NoGradGuard no_grad;
  const auto last = model->encoder->forward(batch.input_ids(), batch.attention_mask(), {}, {}).last_hidden_state;
  const auto states = real_part(last, batch.attention_mask());
  check_close(states.slice(1, 0, 4), expected.at("first_states"), 1e-5);
  check_close(states.slice(2, 0, std::nullopt, 48), expected.at("every_48th"), 1e-5);
}

TEST_CASE("every family is among the goldens") {
  std::set<std::string> types;
  for (const auto& name : family_names()) types.insert(config_of(name).at("model_type"));
  for (const auto& family : families()) {
    if (family.model_type != "bert" && !family.is_decoder()) CHECK(types.contains(std::string(family.model_type)));
  }
}

TEST_CASE("logits, hidden states and attention maps of every family equal those of transformers") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  const auto expected = golden_tensors("model/families/" + name + ".safetensors");
  auto model = load(name);
  const auto batch = golden_batch(expected);
  CHECK(can_fuse(*model->encoder, batch.input_ids(), batch.attention_mask(), {}) == can_fuse(model->config()));
  CHECK(can_fuse(model->config()) == (model->config().positions() != Positions::disentangled));
  const auto form = GENERATE(std::optional<Arithmetic>(), std::optional(Arithmetic::float32));
  model->set_fused(form);
  const at::NoGradGuard no_grad;
  check_close(model->forward(batch).logits, expected.at("logits"), 1e-5);

  const auto output = model->forward(batch, {.hidden_states = true, .attentions = !form});
  check_close(output.logits, expected.at("logits"), 1e-5);
  REQUIRE(output.hidden_states.size() == model->config().layers.size() + 1);
  for (size_t i = 0; i < output.hidden_states.size(); ++i) {
    INFO("hidden states " << i);
    const auto& states = expected.at(fmt::format("hidden_states.{}", i));
    check_close(real_part(output.hidden_states[i], batch.attention_mask()).slice(1, 0, states.size(1)), states, 1e-5);
  }
  for (size_t i = 0; i < output.attentions.size(); ++i) {
    INFO("attention maps " << i);
    const auto& maps = expected.at(fmt::format("attentions.{}", i));
    const auto real = batch.attention_mask().slice(0, 0, maps.size(0)).slice(1, 0, maps.size(2)).to(torch::kFloat);
    const auto own = output.attentions[i].slice(0, 0, maps.size(0)).slice(2, 0, maps.size(2)).slice(3, 0, maps.size(3));
    check_close(own * real.unsqueeze(1).unsqueeze(2) * real.unsqueeze(1).unsqueeze(3), maps, 1e-5);
  }
}

TEST_CASE("an attention mask with zeros anywhere is what transformers makes of it, in both forms") {
  auto names = family_names();
  names.push_back("tiny");
  const auto name = GENERATE_COPY(from_range(names));
  const auto form = GENERATE(std::optional<Arithmetic>(), std::optional(Arithmetic::float32));
  INFO(name << (form ? " fused" : ""));
  const auto goldens = golden_tensors("model/masks.safetensors");
  const auto of = [&](const char* what) { return goldens.at(name + "." + what); };
  auto model = name == "tiny" ? tiny_model() : load(name);
  model->set_fused(form);
  const at::NoGradGuard no_grad;
  const auto mask = of("attention_mask");
  // Together, and each text alone, which the fused form may compute then.
  for (int64_t first = -1; first < mask.size(0); ++first) {
    const auto some = [&](const torch::Tensor& t) { return first < 0 ? t : t.slice(0, first, first + 1); };
    const auto batch = text_batch(some(of("input_ids")), some(mask), some(of("token_type_ids")));
    check_close(model->forward(batch).logits, some(of("logits")), 2e-5);
    const auto states = model->encoder->forward(batch.input_ids(), batch.attention_mask(), batch.token_type_ids(),
                                                {.last_hidden_state = true});
    check_close(real_part(states.last_hidden_state, batch.attention_mask()), some(of("states")), 2e-5);
  }
}

TEST_CASE("gradients of every family equal those of transformers, in both forms, recomputed or not") {
  const auto name = GENERATE(from_range(family_names()));
  const auto form = GENERATE(std::optional<Arithmetic>(), std::optional(Arithmetic::float32));
  const bool recompute = GENERATE(false, true);
  INFO(name << (form ? " fused" : "") << (recompute ? " recomputed" : ""));
  const auto expected = golden_tensors("model/families/" + name + ".safetensors");
  auto model = load(name);
  model->set_fused(form);
  model->set_recompute(recompute);
  const auto batch = golden_batch(expected);
  const auto output = model->forward(batch, {.hidden_states = true});
  auto loss = torch::cross_entropy_loss(output.logits, batch.labels());
  for (size_t i = output.hidden_states.size() - 2; i < output.hidden_states.size(); ++i) {
    loss = loss + real_part(output.hidden_states[i], batch.attention_mask()).square().mean();
  }
  check_close(loss, expected.at("loss"), 1e-5);
  loss.backward();
  const auto checkpoint_name = checkpoint_names(model->config());
  StateDict gradients;  // by the names of the file, where some are of several of ours
  for (const auto& p : model->named_parameters()) {
    const auto& gradient = p.value().grad();
    gradients[checkpoint_name(p.key())] = gradient.defined() ? gradient : torch::zeros_like(p.value());
  }
  put_together(model->config(), gradients);
  size_t checked = 0;
  for (const auto& [key, gradient] : gradients) {
    const auto found = expected.find("gradient." + key);
    if (found == expected.end()) {
      CHECK(gradient.abs().max().item<double>() == 0.0);
      continue;
    }
    INFO(key);
    const auto g = gradient.to(torch::kDouble).flatten();
    const auto weights = torch::arange(g.numel(), torch::kDouble).cos();
    check_close(torch::stack({g.norm(), g.dot(weights)}), found->second, 2e-5 * std::max(1.0, g.norm().item<double>()));
    ++checked;
  }
  CHECK(checked + 2 >= gradients.size());
}

TEST_CASE("the fused form has relative biases, of heads in any order") {
  auto batch = golden_batch(golden_tensors("model/families/mpnet.safetensors"));
  auto model = load("mpnet");
  for (auto& layer : model->encoder->layers) {
    auto& columns = layer->spec.attention.position_heads;
    columns.clear();
    for (int64_t head = layer->heads(); head-- > 0;) columns.push_back(head);
  }
  std::vector<torch::Tensor> logits, gradients;
  for (const auto form : {std::optional<Arithmetic>(), std::optional(Arithmetic::float32)}) {
    model->zero_grad();
    model->set_fused(form);
    logits.push_back(model->forward(batch).logits);
    torch::cross_entropy_loss(logits.back(), batch.labels()).backward();
    gradients.push_back(model->encoder->relative->table->weight.grad().clone());
  }
  check_close(logits[1], logits[0], 1e-5);
  check_close(gradients[1], gradients[0], 1e-5);
  CHECK(gradients[0].abs().max().item<double>() > 1e-4);

  batch["attention_mask"] = batch.attention_mask().clone();
  batch.attention_mask()[0][1] = 0;
  CHECK_FALSE(can_fuse(*model->encoder, batch.input_ids(), batch.attention_mask(), {}));
}

TEST_CASE("a model of every family is written as it was read, and reads again equal") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  const TemporaryFolder folder;
  auto model = load(name);
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  CHECK(read_json_file(folder / "config.json") == config_of(name));
  const auto written = read_state_dict(folder.path()), source = read_state_dict(folder_of(name));
  REQUIRE(written.size() == source.size());
  for (const auto& [key, tensor] : source) CHECK(torch::equal(written.at(key), tensor));
  CHECK(load_model(folder.path()).model->config() == model->config());
}

TEST_CASE("a config of every family that was not read from a file comes back from JSON as it was") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  auto config = load(name)->config();
  config.source = nullptr;
  auto again = read(write_model_config(config));
  again.source = nullptr;
  CHECK(again == config);
}

TEST_CASE("parameters of every family are counted as the model has them") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  auto model = load(name);
  int64_t count = 0;
  for (const auto& p : model->parameters()) count += p.numel();
  CHECK(parameter_count(model->config()) == count);
}

TEST_CASE("multiply-adds of shared layers count as often as they run, those of relative positions by their rows") {
  // 24 wide, FFN of 40, 10 tokens.
  const int64_t layer = 10 * (4 * 24 * 24 + 2 * 24 * 40) + 2 * 10 * 10 * 24;
  const auto macs = [](const char* name) { return encoder_macs(read(config_of(name)), 10); };
  CHECK(macs("albert") == 8 * layer);
  CHECK(macs("mpnet") == 2 * layer);
  // 19 distances: c2p and p2c project them, and the product with 10 tokens' queries or keys.
  CHECK(macs("deberta-v2_own") == 2 * (layer + 19 * 24 * (24 + 10)));
  // Buckets of 16 and a range of 160: all distances below 8, then 8 and 9 in one.
  CHECK(macs("deberta-v2") == 2 * (layer + 2 * 19 * 24 * (24 + 10)));
}

TEST_CASE("the encoder alone, as its class without a head is saved, is read with a new head") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  const auto& family = find_family(config_of(name).at("model_type"));
  const std::string base = std::string(family.base) + ".";
  StateDict bare;
  for (const auto& [key, tensor] : read_state_dict(folder_of(name))) {
    if (key.starts_with(base)) bare[key.substr(base.size())] = tensor;
  }
  const TemporaryFolder folder;
  write_state_dict(folder.path(), bare);
  auto config = config_of(name);
  config["architectures"] = {std::string(family.class_prefix) + "Model"};
  config.erase("id2label");
  config.erase("label2id");
  write_file(folder / "config.json", config.dump());
  const TaskHead head{{"x", "y"}};
  const auto message = message_of<CheckpointError>([&] { load_model(folder.path(), {.head = head}); });
  CHECK_THAT(message, Contains("has no head for classification; fine-tune it first"));
  const auto batch = golden_batch(golden_tensors("model/families/" + name + ".safetensors"));
  auto model = load_model(folder.path(), {.head = head, .new_head = true}).model;
  const at::NoGradGuard no_grad;
  const Capture capture{.hidden_states = true};
  const auto found = model->forward(batch, capture).hidden_states.back();
  check_close(found, load(name)->forward(batch, capture).hidden_states.back(), 0.0);
}

TEST_CASE("a text that is longer than the positions of its family is refused") {
  for (const auto& [name, longest] : std::map<std::string, int64_t>{
           {"distilbert", 32}, {"roberta", 32 - 4}, {"mpnet", 160 - 2}, {"deberta-v2", 160}}) {
    INFO(name);
    auto model = load(name);
    CHECK(model->config().max_length() == longest);
    const auto ids = [](int64_t length) { return torch::full({1, length}, 7, torch::kLong); };
    const at::NoGradGuard no_grad;
    CHECK_NOTHROW(model->forward(text_batch(ids(longest))));
    CHECK_THROWS_AS(model->forward(text_batch(ids(longest + 1))), UnsupportedError);
  }
}

TEST_CASE("padding inside a text has the position of padding, whether or not attention sees it") {
  auto model = load("roberta");
  const auto ids = torch::tensor({{7, 3, 8, 9, 3, 3}}, torch::kLong);
  const auto mask = torch::tensor({{1, 1, 1, 1, 0, 0}}, torch::kLong);
  const at::NoGradGuard no_grad;
  const auto plain = model->forward(text_batch(ids, mask), {.hidden_states = true});
  const auto& e = *model->encoder->embeddings;
  const auto sum = e.word_embeddings->weight.index_select(0, ids[0]) + e.token_type_embeddings->weight[0] +
                   e.position_embeddings->weight.index_select(0, torch::tensor({4, 3, 5, 6, 3, 3}));
  check_close(plain.hidden_states[0][0], model->encoder->embeddings->norm->forward(sum), 1e-6);
  model->set_fused(Arithmetic::float32);
  check_close(model->forward(text_batch(ids, mask)).logits, plain.logits, 1e-6);
}

TEST_CASE("keys that a family's config.json lacks have the defaults of transformers") {
  const auto only_type = [](const char* type) { return read({{"model_type", type}}); };
  const auto distilbert = only_type("distilbert");
  CHECK((distilbert.layers == blocks_of(6, 12, 3072)));
  CHECK(distilbert.classifier_dropout == 0.2);
  CHECK(distilbert.type_vocab_size == 0);
  const auto electra = only_type("electra");
  CHECK(electra.hidden_size == 256);
  CHECK(electra.input.embedding_size == 128);
  CHECK(electra.input.projection);
  const auto roberta = only_type("roberta");
  CHECK(roberta.vocab_size == 50265);
  CHECK(roberta.max_length() == 510);
  CHECK(only_type("albert").hidden_dropout_prob == 0.0);
  CHECK(only_type("mpnet").pad_token_id == 1);
  const auto deberta = only_type("deberta-v2");
  CHECK(deberta.norm.eps == 1e-7);
  CHECK(deberta.positions() == Positions::none);
}

TEST_CASE("options that are not supported are named in one line, with what is") {
  const auto unsupported = [](const std::string& family, const std::string& key, const json& value,
                              const std::string& supported) {
    CHECK_THAT(refusal<UnsupportedError>(family, key, value),
               Contains("config.json: " + key + ": found") && Contains("supported: " + supported));
  };
  unsupported("distilbert", "model_type", "funnel",
              "bert, roberta, xlm-roberta, distilbert, electra, albert, mpnet, modernbert, deberta-v2, gpt2, llama, "
              "qwen2, qwen3, mpt, bart, gemma2, gemma3_text");
  unsupported("distilbert", "activation", "mish", "gelu");
  unsupported("roberta", "position_embedding_type", "relative_key", "absolute");
  unsupported("mpnet", "pad_token_id", 0, "1");
  unsupported("deberta-v2", "conv_kernel_size", 3, "0");
  unsupported("modernbert", "rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}, "none");
  unsupported("deberta-v2", "embedding_size", 12, "24");
  unsupported("deberta-v2", "pooler_hidden_size", 48, "24");
  unsupported("deberta-v2", "pos_att_type", "p2p", "c2p, p2c");
  unsupported("deberta-v2", "relative_attention", false, "true with it");
  unsupported("deberta-v2", "norm_rel_ebd", "batch_norm", "none, layer_norm");
  unsupported("deberta-v2", "position_buckets", 1, "from 2");
  unsupported("deberta-v2", "position_buckets", 400, "from 2");
  unsupported("deberta-v2", "pooler_hidden_act", "mish", "tanh, gelu");
}

TEST_CASE("sizes that do not fit a family are refused with file, key, found and expected") {
  const auto refused = [](const std::string& family, const std::string& key, const json& value,
                          const std::string& expected) {
    CHECK_THAT(refusal<CheckpointError>(family, key, value), Contains("config.json: ") && Contains(expected));
  };
  refused("distilbert", "dim", 25, "n_heads: found 3, expected a divisor of dim, 25");
  refused("distilbert", "n_layers", 1025, "n_layers: found 1025, expected a whole number from 1 to 1024");
  refused("roberta", "max_position_embeddings", 4, "more than pad_token_id, 3, + 1");
  refused("albert", "num_hidden_groups", 5, "from 1 to 4");
  refused("albert", "inner_group_num", 1000, "from 1 to 256");
  refused("albert", "embedding_size", 0, "from 1");
  refused("mpnet", "relative_attention_num_buckets", 31, "from 32");
  refused("mpnet", "vocab_size", 1, "pad_token_id: found 1, expected");
  auto big = config_of("deberta-v2");
  big["position_buckets"] = int64_t{1} << 30;
  big["max_relative_positions"] = int64_t{1} << 31;
  CHECK_THAT(message_of<CheckpointError>([&] { read(big); }), Contains("parameters"));
  auto mpnet = config_of("mpnet");
  mpnet["relative_attention_num_buckets"] = int64_t{1} << 31;
  CHECK_THAT(message_of<CheckpointError>([&] { read(mpnet); }),
             Contains("relative_attention_num_buckets: found 2147483648"));
}

TEST_CASE("no value of any key of any family does more than to be refused") {
  const auto name = GENERATE(from_range(family_names()));
  const auto config = config_of(name);
  for (const auto& [key, ignored] : config.items()) {
    for (const json& value : std::initializer_list<json>{nullptr, true, 0, -1, 1, 3, 1000, 1e300, uint64_t{1} << 63,
                                                         int64_t{1} << 31, "", "|", "p2c|", "x", json::array(),
                                                         json::array({1, "c2p", nullptr}), json::object()}) {
      auto odd = config;
      odd[key] = value;
      INFO(name << " " << key << " " << value);
      try {
        const auto accepted = read(odd);
        CHECK(parameter_count(accepted) > 0);
        CHECK(accepted.max_length() > 0);
        write_model_config(accepted);
      } catch (const Error& error) {
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
      }
    }
  }
}

TEST_CASE(
    "ModernBERT's local layers share the others' rotary base where config.json says null, not where it says nothing") {
  auto json = read_json_file(golden("model/families/modernbert/config.json"));
  json.erase("rope_parameters");
  json["global_rope_theta"] = 500.0;
  const auto local_base = [&] { return read_model_config(json, "config.json").layers.at(1).attention.rotary_base; };
  CHECK(local_base() == 10000.0);
  json["local_rope_theta"] = nullptr;
  CHECK(local_base() == 500.0);
  json["local_rope_theta"] = 50.0;
  CHECK(local_base() == 50.0);
}

TEST_CASE("groups of shared layers are what transformers makes of them, and found again") {
  CHECK(shared_layers({.repeats = 4, .groups = 1, .inner = 1}) == std::vector<int64_t>{0, 0, 0, 0});
  CHECK(shared_layers({.repeats = 4, .groups = 3, .inner = 1}) == std::vector<int64_t>{0, 0, 1, 2});
  CHECK(shared_layers({.repeats = 2, .groups = 1, .inner = 2}) == std::vector<int64_t>{0, 1, 0, 1});
  for (int64_t repeats = 1; repeats <= 12; ++repeats) {
    for (int64_t groups = 1; groups <= repeats; ++groups) {
      for (int64_t inner = 1; inner <= 3; ++inner) {
        ModelConfig config;
        config.shared_layers = shared_layers({.repeats = repeats, .groups = groups, .inner = inner});
        CHECK(shared_layers(layer_groups(config)) == config.shared_layers);
      }
    }
  }
  ModelConfig uneven{.model_type = "albert"};
  uneven.shared_layers = {0, 0, 0, 1};
  CHECK_THAT(message_of<UnsupportedError>([&] { layer_groups(uneven); }), Contains("0, 0, 0, 1"));
}

TEST_CASE("distances are put in buckets as the papers draw them") {
  const auto row = [](Positions positions, const RelativeSpec& spec, int64_t distance) {
    return relative_rows(positions, spec, 200).at(static_cast<size_t>(199 + distance));
  };
  const RelativeSpec bias{.rows = 32};
  CHECK(row(Positions::bias, bias, 0) == 0);
  CHECK(row(Positions::bias, bias, 7) == 7);
  CHECK(row(Positions::bias, bias, -7) == 16 + 7);
  CHECK(row(Positions::bias, bias, 8) == 8);
  CHECK(row(Positions::bias, bias, 11) == 8);
  CHECK(row(Positions::bias, bias, 127) == 15);
  CHECK(row(Positions::bias, bias, -199) == 31);
  const RelativeSpec apart{.rows = 40, .range = 20};
  CHECK(row(Positions::disentangled, apart, 0) == 20);
  CHECK(row(Positions::disentangled, apart, -30) == 0);
  CHECK(row(Positions::disentangled, apart, 30) == 39);
  auto buckets = apart;
  buckets.rows = 32;
  buckets.buckets = 16;
  buckets.range = 160;
  CHECK(row(Positions::disentangled, buckets, 8) == 16 + 8);
  CHECK(row(Positions::disentangled, buckets, -8) == 16 - 8);
  CHECK(row(Positions::disentangled, buckets, 159) == 16 + 15);
  CHECK(row(Positions::disentangled, buckets, -159) == 1);
}

}  // namespace
}  // namespace compression
