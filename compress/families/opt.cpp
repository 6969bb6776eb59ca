#include <string>
#include <vector>

#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

using nlohmann::json;

constexpr int64_t first_position = 2;  // of the table's rows, whatever the padding's id is

std::vector<BlockSpec> blocks() {
  auto blocks = blocks_of(12, 12, 3072, Activation::relu);
  for (auto& block : blocks) {
    block.attention.causal = true;
    block.norm = {.eps = 1e-5};
    block.place = NormPlace::before;
  }
  return blocks;
}

void read_blocks(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  fields.require_if_given("layer_norm_elementwise_affine", true);
  fields.require_if_given("_remove_final_layer_norm", false);
  fields.require_if_given("word_embed_proj_dim", config.hidden_size);
  const bool before = fields.flag_or(true, "do_layer_norm_before"), bias = fields.flag_or(true, "enable_bias");
  for (auto& block : config.layers) {
    block.place = before ? NormPlace::before : NormPlace::after;
    block.attention.bias = block.attention.output_bias = block.mlp.bias = bias;
  }
  config.final_norm = before;
  config.max_position_embeddings += first_position;
  read_language_head(fields, /*tied=*/true, config);
}

void write_blocks(const ModelConfig& config, json& out) {
  const auto& block = config.layers.front();
  out["do_layer_norm_before"] = block.place == NormPlace::before;
  out["enable_bias"] = block.mlp.bias;
  out["word_embed_proj_dim"] = config.hidden_size;
  out["max_position_embeddings"] = config.max_position_embeddings - first_position;
  write_language_head(config, out);
}

}  // namespace

/// A decoder with absolute positions, norms before or behind attention and FFN, and ReLU (arXiv 2205.01068).
Family opt() {
  return {.model_type = "opt",
          .class_prefix = "OPT",
          .base = "model",
          .defaults = {.model_type = "opt",
                       .vocab_size = 50272,
                       .max_position_embeddings = 2048,
                       .type_vocab_size = 0,
                       .pad_token_id = 1,
                       .input = {.first_position = first_position, .norm = false},
                       .norm = {.eps = 1e-5},
                       .layers = blocks(),
                       .final_norm = true,
                       .attention_probs_dropout_prob = 0.0,
                       .language_head = LanguageHead::tied},
          .keys = {{"intermediate_size", "ffn_dim"},
                   {"hidden_act", "activation_function"},
                   {"hidden_dropout_prob", "dropout"},
                   {"attention_probs_dropout_prob", "attention_dropout"},
                   {"initializer_range", "init_std"},
                   {"layer_norm_eps", ""},
                   {"type_vocab_size", ""}},
          .read = read_blocks,
          .write = write_blocks,
          .layer = "decoder.layers.{}",
          .layer_modules = {{"attention.self.query", "self_attn.q_proj"},
                            {"attention.self.key", "self_attn.k_proj"},
                            {"attention.self.value", "self_attn.v_proj"},
                            {"attention.output.dense", "self_attn.out_proj"},
                            {"attention.output.LayerNorm", "self_attn_layer_norm"},
                            {"intermediate.dense", "fc1"},
                            {"output.dense", "fc2"},
                            {"output.LayerNorm", "final_layer_norm"}},
          .modules = {{"bert.embeddings.word_embeddings", "model.decoder.embed_tokens"},
                      {"bert.embeddings.position_embeddings", "model.decoder.embed_positions"},
                      {"bert.encoder.LayerNorm", "model.decoder.final_layer_norm"}}};
}

}  // namespace compression
