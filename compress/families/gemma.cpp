#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "compress/base/limits.h"             // positions
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

using nlohmann::json;

constexpr int64_t head_size = 256;

/// Llama's, but for what differs.
std::vector<BlockSpec> blocks(const BlockSpec& llama) {
  std::vector<BlockSpec> blocks(26, llama);
  for (auto& block : blocks) {
    block.attention.heads = 8;
    block.attention.group = 2;
    block.attention.head_size = head_size;
    block.mlp.units = 9216;
    block.mlp.activation = Activation::gelu_tanh;
    block.place = NormPlace::both;
  }
  return blocks;
}

/// Replaces what the family calls modules of ours, or adds it.
void rename(std::vector<OtherName>& modules, std::initializer_list<OtherName> names) {
  for (const auto& name : names) {
    const auto found = std::ranges::find(modules, name.own, &OtherName::own);
    if (found == modules.end()) {
      modules.push_back(name);
    } else {
      *found = name;
    }
  }
}

/// What logits or scores stay below; 0, where the key is null: they have no cap.
double read_cap(const ConfigFields& fields, const std::string& key, double absent) {
  const bool is_null = fields.value().contains(key) && !fields.find(key);
  return is_null ? 0.0 : fields.real_or(absent, key, 1e-3, 1e6);
}

/// `every`: which layer is the first that is not local.
void read_blocks(const FamilyFields& family_fields, int64_t every, RotaryBases bases, ModelConfig& config) {
  const auto& fields = family_fields.all();
  fields.require_if_given("use_bidirectional_attention", false);
  const auto local = read_local_layers(fields, config.layers.size(),
                                       [&](size_t i) { return (static_cast<int64_t>(i) + 1) % every != 0; });
  const auto window = fields.integer_or(4096, "sliding_window", 2, limits::positions);  // with the token itself
  const auto heads = config.layers.front().attention.heads;
  const auto group = read_group(fields, heads, std::min<int64_t>(heads, 4));
  const auto score_size = fields.integer_or(head_size, "query_pre_attn_scalar", 1, limits::width);
  const bool bias = fields.flag_or(false, "attention_bias");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    auto& block = config.layers[i];
    auto& attention = block.attention;
    if (!family_fields.is_given("attention_head_size")) attention.head_size = head_size;
    attention.group = group;
    attention.window = local[i] ? window - 1 : 0;
    attention.rotary_base = local[i] ? bases.local : bases.global;
    attention.score_size = score_size;
    attention.bias = attention.output_bias = bias;
    block.norm = config.norm;
  }
  config.logit_cap = read_cap(fields, "final_logit_softcapping", config.logit_cap);
  read_language_head(fields, /*tied=*/true, config);
}

void read_gemma2(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  const auto base = read_rotary_base(fields, "rope_theta", 1e4);
  const auto cap = read_cap(fields, "attn_logit_softcapping", 50.0);
  read_blocks(family_fields, 2, {.local = base, .global = base}, config);
  for (auto& block : config.layers) block.attention.score_cap = cap;
}

void read_gemma3(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  fields.require_if_given("attn_logit_softcapping", nullptr);
  const auto every = fields.integer_or(6, "sliding_window_pattern", 1, limits::layers);
  read_blocks(family_fields, every,
              read_rotary_bases(fields, "rope_local_base_freq", "rope_theta", {.local = 1e4, .global = 1e6}), config);
  for (auto& block : config.layers) block.attention.head_norm = config.norm;
}

json cap_json(double cap) {
  return cap == 0.0 ? json() : json(cap);
}

void write_blocks(const ModelConfig& config, json& out) {
  const auto& attention = config.layers.front().attention;
  out["num_key_value_heads"] = attention.kv_heads();
  out["attention_bias"] = attention.bias;
  out["query_pre_attn_scalar"] = attention.score_size.value_or(attention.head_size);
  out["final_logit_softcapping"] = cap_json(config.logit_cap);
  write_local_layers(config, out);
  for (const auto& block : config.layers) {
    if (block.attention.window > 0) out["sliding_window"] = block.attention.window + 1;
  }
  write_language_head(config, out);
}

void write_gemma2(const ModelConfig& config, json& out) {
  write_blocks(config, out);
  const auto& attention = config.layers.front().attention;
  write_rotary_base(attention.rotary_base, out);
  out["attn_logit_softcapping"] = cap_json(attention.score_cap);
}

void write_gemma3(const ModelConfig& config, json& out) {
  write_blocks(config, out);
  for (const auto* key : {"rope_theta", "rope_local_base_freq"}) out.erase(key);
  write_rotary_bases(config, out);
}

}  // namespace

/// Llama with RMSNorm behind attention and FFN too and of each head's queries and keys, whose attention is to tokens
/// near by in most layers, to all before in the others (arXiv 2503.19786). Texts alone.
Family gemma3() {
  auto family = llama();
  family.model_type = "gemma3_text";
  family.class_prefix = "Gemma3";
  auto& defaults = family.defaults;
  defaults.model_type = "gemma3_text";
  defaults.vocab_size = 262208;
  defaults.max_position_embeddings = 131072;
  defaults.pad_token_id = 0;
  defaults.hidden_size = 2304;
  defaults.input.scaled = true;
  defaults.layers = blocks(defaults.layers.front());
  defaults.language_head = LanguageHead::tied;
  family.keys.push_back({"hidden_act", "hidden_activation"});
  family.read = read_gemma3;
  family.write = write_gemma3;
  rename(family.layer_modules, {{"attention.output.result_norm", "post_attention_layernorm"},
                                {"output.LayerNorm", "pre_feedforward_layernorm"},
                                {"output.result_norm", "post_feedforward_layernorm"}});
  family.norms_less_one = true;
  family.gguf = "gemma3";
  rename(family.gguf_modules, {{"attention.output.result_norm", "blk.{}.post_attention_norm"},
                               {"output.result_norm", "blk.{}.post_ffw_norm"}});
  family.gguf_keys = {{"sliding_window", "attention.sliding_window"},
                      {"query_pre_attn_scalar", "attention.key_length"},
                      {"rope_local_base_freq", "rope.freq_base_swa"}};
  family.gguf_turns_neighbours = false;
  return family;
}

/// The same without norms of heads, in turns with local layers, and with caps of scores and logits (arXiv 2408.00118).
Family gemma2() {
  auto family = gemma3();
  family.model_type = "gemma2";
  family.class_prefix = "Gemma2";
  family.defaults.model_type = "gemma2";
  family.defaults.vocab_size = 256000;
  family.defaults.max_position_embeddings = 8192;
  family.defaults.logit_cap = 30.0;
  family.read = read_gemma2;
  family.write = write_gemma2;
  family.gguf = "";  // whose scores' scale such files don't tell
  family.gguf_modules = family.gguf_keys = {};
  return family;
}

}  // namespace compression
