#include <fmt/format.h>

#include <string>
#include <vector>

#include "compress/base/limits.h"             // layers
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

using nlohmann::json;

constexpr int64_t first_position = 2;  // of the table's rows, whatever the padding's id is

/// The decoder's block: the encoder's, causal, and one that attends to the encoder.
BlockSpec decoder_block(BlockSpec block) {
  block.cross = block.attention;
  block.attention.causal = true;
  return block;
}

void read_stacks(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  for (const auto* key : {"normalize_before", "add_final_layer_norm", "static_position_embeddings"}) {
    fields.require_if_given(key, false);
  }
  fields.require_if_given("normalize_embedding", true);
  const auto& usual = family_fields.family().defaults.decoder.front();
  auto block = usual;
  const auto heads = fields.integer_or(usual.attention.heads, "decoder_attention_heads", 1, limits::width);
  if (config.hidden_size % heads != 0) {
    fields.fail("decoder_attention_heads", std::to_string(heads),
                fmt::format("a divisor of d_model, {}", config.hidden_size));
  }
  for (auto* attention : {&block.attention, &*block.cross}) {
    attention->heads = heads;
    attention->head_size = config.hidden_size / heads;
  }
  block.mlp = config.layers.front().mlp;
  block.mlp.units = fields.integer_or(usual.mlp.units, "decoder_ffn_dim", 1, limits::rows);
  const auto layers = static_cast<int64_t>(config.decoder.size());
  config.decoder.assign(static_cast<size_t>(fields.integer_or(layers, "decoder_layers", 1, limits::layers)), block);
  config.max_position_embeddings += first_position;
  config.input.scaled = fields.flag_or(false, "scale_embedding");
  read_language_head(fields, /*tied=*/true, config);
}

void write_stacks(const ModelConfig& config, json& out) {
  const auto& block = config.decoder.front();
  out["decoder_layers"] = config.decoder.size();
  out["decoder_attention_heads"] = block.attention.heads;
  out["decoder_ffn_dim"] = block.mlp.units;
  out["max_position_embeddings"] = config.max_position_embeddings - first_position;
  out["scale_embedding"] = config.input.scaled;
  write_language_head(config, out);
}

}  // namespace

/// An encoder, and a decoder behind it (Lewis et al., arXiv 1910.13461).
Family bart() {
  auto layers = blocks_of(12, 16, 4096);
  for (auto& block : layers) block.norm = {.eps = 1e-5};
  return {.model_type = "bart",
          .class_prefix = "Bart",
          .base = "model",
          .defaults = {.model_type = "bart",
                       .vocab_size = 50265,
                       .max_position_embeddings = 1024,
                       .type_vocab_size = 0,
                       .pad_token_id = 1,
                       .hidden_size = 1024,
                       .input = {.first_position = first_position},
                       .norm = {.eps = 1e-5},
                       .layers = layers,
                       .decoder = std::vector<BlockSpec>(12, decoder_block(layers.front())),
                       .attention_probs_dropout_prob = 0.0,
                       .classifier_dropout = 0.0,
                       .language_head = LanguageHead::tied},
          .keys = {{"hidden_size", "d_model"},
                   {"num_hidden_layers", "encoder_layers"},
                   {"num_attention_heads", "encoder_attention_heads"},
                   {"intermediate_size", "encoder_ffn_dim"},
                   {"hidden_act", "activation_function"},
                   {"hidden_dropout_prob", "dropout"},
                   {"attention_probs_dropout_prob", "attention_dropout"},
                   {"initializer_range", "init_std"},
                   {"layer_norm_eps", ""},
                   {"type_vocab_size", ""}},
          .read = read_stacks,
          .write = write_stacks,
          .layer = "encoder.layers.{}",
          .decoder_layer = "decoder.layers.{}",
          .layer_modules = {{"attention.self.query", "self_attn.q_proj"},
                            {"attention.self.key", "self_attn.k_proj"},
                            {"attention.self.value", "self_attn.v_proj"},
                            {"attention.output.dense", "self_attn.out_proj"},
                            {"attention.output.LayerNorm", "self_attn_layer_norm"},
                            {"crossattention.self.query", "encoder_attn.q_proj"},
                            {"crossattention.self.key", "encoder_attn.k_proj"},
                            {"crossattention.self.value", "encoder_attn.v_proj"},
                            {"crossattention.output.dense", "encoder_attn.out_proj"},
                            {"crossattention.output.LayerNorm", "encoder_attn_layer_norm"},
                            {"intermediate.dense", "fc1"},
                            {"output.dense", "fc2"},
                            {"output.LayerNorm", "final_layer_norm"}},
          .modules = {{"bert.embeddings.word_embeddings", "model.shared"},
                      {"bert.embeddings.position_embeddings", "model.encoder.embed_positions"},
                      {"bert.embeddings.LayerNorm", "model.encoder.layernorm_embedding"},
                      {"decoder.embeddings.position_embeddings", "model.decoder.embed_positions"},
                      {"decoder.embeddings.LayerNorm", "model.decoder.layernorm_embedding"}},
          .not_ours = {"model.encoder.embed_tokens.", "model.decoder.embed_tokens.", "final_logits_bias"},
          .zeros = {"final_logits_bias"},
          .tokenizers = {{"Bart", TokenizerRules::bytes_marks, mark_tokens()},
                         {"LED", TokenizerRules::bytes_marks, mark_tokens()},
                         {"Mvp", TokenizerRules::bytes_marks, mark_tokens()}}};
}

}  // namespace compression
