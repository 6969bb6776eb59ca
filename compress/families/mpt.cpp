#include <string>
#include <utility>
#include <vector>

#include "compress/base/json_file.h"          // excerpt
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

std::vector<BlockSpec> blocks() {
  auto blocks = blocks_of(24, 16, 4 * 2048);
  for (auto& block : blocks) {
    block.attention.causal = true;
    block.attention.positions = Positions::alibi;
    block.attention.bias = block.attention.output_bias = block.mlp.bias = false;
    block.norm = {.eps = 1e-5, .bias = false};
    block.place = NormPlace::before;
  }
  return blocks;
}

void read_blocks(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  if (fields.find("attn_config")) {
    const auto attention = fields.object("attn_config");
    for (const auto& [key, supported] :
         {std::pair("alibi", nlohmann::json(true)), std::pair("alibi_bias_max", nlohmann::json(8)),
          std::pair("qk_ln", nlohmann::json(false)), std::pair("prefix_lm", nlohmann::json(false))}) {
      attention.require_if_given(key, supported);
    }
    for (const auto* key : {"clip_qkv", "softmax_scale"}) {
      if (const auto* value = attention.find(key)) attention.fail_unsupported(key, excerpt(*value), "null");
    }
  }
  fields.require_if_given("no_bias", true);
  config.relative.heads = config.layers.front().attention.heads;
  for (auto& block : config.layers) block.mlp.units = 4 * config.hidden_size;  // whatever expansion_ratio says
  read_language_head(fields, /*tied=*/true, config);
}

}  // namespace

/// A decoder whose attention falls with the distance (ALiBi), without biases anywhere (MosaicML, 2023).
Family mpt() {
  return {.model_type = "mpt",
          .class_prefix = "Mpt",
          .base = "transformer",
          .defaults = {.model_type = "mpt",
                       .vocab_size = 50368,
                       .max_position_embeddings = 2048,
                       .type_vocab_size = 0,
                       .pad_token_id = -1,
                       .hidden_size = 2048,
                       .input = {.positions = false, .norm = false},
                       .norm = {.eps = 1e-5, .bias = false},
                       .layers = blocks(),
                       .final_norm = true,
                       .hidden_dropout_prob = 0.0,
                       .attention_probs_dropout_prob = 0.0,
                       .language_head = LanguageHead::tied},
          .keys = {{"hidden_size", "d_model"},
                   {"num_hidden_layers", "n_layers"},
                   {"num_attention_heads", "n_heads"},
                   {"intermediate_size", ""},
                   {"hidden_act", ""},
                   {"max_position_embeddings", "max_seq_len"},
                   {"hidden_dropout_prob", "resid_pdrop"},
                   {"attention_probs_dropout_prob", ""},
                   {"layer_norm_eps", "layer_norm_epsilon"},
                   {"type_vocab_size", ""}},
          .read = read_blocks,
          .write = write_language_head,
          .layer = "blocks.{}",
          .layer_modules = {{"attention.self.query", "attn.Wqkv.query"},
                            {"attention.self.key", "attn.Wqkv.key"},
                            {"attention.self.value", "attn.Wqkv.value"},
                            {"attention.output.dense", "attn.out_proj"},
                            {"attention.output.LayerNorm", "norm_1"},
                            {"intermediate.dense", "ffn.up_proj"},
                            {"output.dense", "ffn.down_proj"},
                            {"output.LayerNorm", "norm_2"}},
          .joined = {{"attn.Wqkv", {"attn.Wqkv.query", "attn.Wqkv.key", "attn.Wqkv.value"}}},
          .modules = {{"bert.embeddings.word_embeddings", "transformer.wte"},
                      {"bert.encoder.LayerNorm", "transformer.norm_f"}}};
}

}  // namespace compression
