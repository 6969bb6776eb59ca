#include <algorithm>
#include <utility>
#include <vector>

#include "compress/base/limits.h"             // positions
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

using nlohmann::json;

constexpr double default_base = 10000.0;

std::vector<BlockSpec> blocks() {
  auto blocks = blocks_of(32, 32, 11008, Activation::silu);
  for (auto& block : blocks) {
    block.attention.causal = true;
    block.attention.positions = Positions::rotary;
    block.attention.bias = block.attention.output_bias = false;
    block.mlp.gated = true;
    block.mlp.bias = false;
    block.norm = {.kind = NormKind::rms, .eps = 1e-6};
    block.place = NormPlace::before;
  }
  return blocks;
}

void read_blocks(const FamilyFields& family_fields, ModelConfig& config, bool biases, bool head_norms,
                 int64_t kv_heads = limits::width) {
  const auto& fields = family_fields.all();
  const auto heads = config.layers.front().attention.heads;
  const auto group = read_group(fields, heads, std::min(heads, kv_heads));
  fields.require_if_given("use_sliding_window", false);
  const auto base = read_rotary_base(fields, "rope_theta", default_base);
  const bool attention_bias = fields.flag_or(false, "attention_bias"), mlp_bias = fields.flag_or(false, "mlp_bias");
  for (auto& block : config.layers) {
    block.attention.group = group;
    block.attention.rotary_base = base;
    block.attention.bias = attention_bias || biases;
    block.attention.output_bias = attention_bias;
    block.mlp.bias = mlp_bias;
    block.norm = config.norm;
    if (head_norms) block.attention.head_norm = config.norm;
  }
  read_language_head(fields, /*tied=*/false, config);
}

void write_blocks(const ModelConfig& config, json& out) {
  const auto& attention = config.layers.front().attention;
  out["num_key_value_heads"] = attention.kv_heads();
  write_rotary_base(attention.rotary_base, out);
  out["attention_bias"] = attention.output_bias;
  out["mlp_bias"] = config.layers.front().mlp.bias;
  write_language_head(config, out);
}

}  // namespace

/// A decoder with rotary positions, RMSNorm before attention and FFN, gated FFNs, and heads that share keys and values
/// (arXiv 2302.13971, 2307.09288).
Family llama() {
  return {
      .model_type = "llama",
      .class_prefix = "Llama",
      .base = "model",
      .defaults = {.model_type = "llama",
                   .vocab_size = 32000,
                   .max_position_embeddings = 2048,
                   .type_vocab_size = 0,
                   .pad_token_id = -1,
                   .hidden_size = 4096,
                   .input = {.positions = false, .norm = false},
                   .norm = {.kind = NormKind::rms, .eps = 1e-6},
                   .layers = blocks(),
                   .final_norm = true,
                   .hidden_dropout_prob = 0.0,
                   .attention_probs_dropout_prob = 0.0,
                   .language_head = LanguageHead::own},
      .keys = {{"hidden_dropout_prob", ""},
               {"attention_probs_dropout_prob", "attention_dropout"},
               {"layer_norm_eps", "rms_norm_eps"},
               {"attention_head_size", "head_dim"},
               {"type_vocab_size", ""}},
      .read = [](const FamilyFields& fields, ModelConfig& config) { read_blocks(fields, config, false, false); },
      .write = write_blocks,
      .layer = "layers.{}",
      .layer_modules = {{"attention.self.query", "self_attn.q_proj"},
                        {"attention.self.key", "self_attn.k_proj"},
                        {"attention.self.value", "self_attn.v_proj"},
                        {"attention.self.query_norm", "self_attn.q_norm"},
                        {"attention.self.key_norm", "self_attn.k_norm"},
                        {"attention.output.dense", "self_attn.o_proj"},
                        {"attention.output.LayerNorm", "input_layernorm"},
                        {"intermediate.dense", "mlp.gate_proj"},
                        {"intermediate.gate", "mlp.up_proj"},
                        {"output.dense", "mlp.down_proj"},
                        {"output.LayerNorm", "post_attention_layernorm"}},
      .modules = {{"bert.embeddings.word_embeddings", "model.embed_tokens"}, {"bert.encoder.LayerNorm", "model.norm"}},
      .gguf = "llama",
      .gguf_modules = {{"bert.embeddings.word_embeddings", "token_embd"},
                       {"bert.encoder.LayerNorm", "output_norm"},
                       {"lm_head", "output"},
                       {"attention.self.query", "blk.{}.attn_q"},
                       {"attention.self.key", "blk.{}.attn_k"},
                       {"attention.self.value", "blk.{}.attn_v"},
                       {"attention.self.query_norm", "blk.{}.attn_q_norm"},
                       {"attention.self.key_norm", "blk.{}.attn_k_norm"},
                       {"attention.output.dense", "blk.{}.attn_output"},
                       {"attention.output.LayerNorm", "blk.{}.attn_norm"},
                       {"intermediate.dense", "blk.{}.ffn_gate"},
                       {"intermediate.gate", "blk.{}.ffn_up"},
                       {"output.dense", "blk.{}.ffn_down"},
                       {"output.LayerNorm", "blk.{}.ffn_norm"}},
      .gguf_turns_neighbours = true};
}

/// Llama whose tokens attend to the nearest before them alone (arXiv 2310.06825).
Family mistral() {
  auto family = llama();
  family.model_type = "mistral";
  family.gguf = "";
  family.defaults.model_type = "mistral";
  family.class_prefix = "Mistral";
  family.defaults.max_position_embeddings = 131072;
  for (auto& block : family.defaults.layers) {
    block.mlp.units = 14336;
    block.attention.group = 4;
    block.attention.window = 4095;
  }
  family.read = [](const FamilyFields& fields, ModelConfig& config) {
    read_blocks(fields, config, false, false, 8);
    const auto& all = fields.all();
    const bool is_null = all.value().contains("sliding_window") && !all.find("sliding_window");
    const auto window = is_null ? 1 : all.integer_or(4096, "sliding_window", 2, limits::positions);
    for (auto& block : config.layers) block.attention.window = window - 1;  // without the token itself
  };
  family.write = [](const ModelConfig& config, json& out) {
    write_blocks(config, out);
    const auto window = config.layers.front().attention.window;
    out["sliding_window"] = window > 0 ? json(window + 1) : json();
  };
  return family;
}

/// Llama with biases of queries, keys and values (arXiv 2407.10671).
Family qwen2() {
  auto family = llama();
  family.model_type = family.gguf = "qwen2";
  family.defaults.model_type = "qwen2";
  family.class_prefix = "Qwen2";
  family.defaults.vocab_size = 151936;
  family.defaults.max_position_embeddings = 32768;
  for (auto& block : family.defaults.layers) block.mlp.units = 22016;
  family.read = [](const FamilyFields& fields, ModelConfig& config) { read_blocks(fields, config, true, false); };
  family.gguf_turns_neighbours = false;
  return family;
}

/// Llama with a norm of each head's queries and keys (arXiv 2505.09388).
Family qwen3() {
  auto family = qwen2();
  family.model_type = family.gguf = "qwen3";
  family.defaults.model_type = "qwen3";
  family.class_prefix = "Qwen3";
  family.read = [](const FamilyFields& fields, ModelConfig& config) { read_blocks(fields, config, false, true); };
  return family;
}

}  // namespace compression
