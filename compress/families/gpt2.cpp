#include <vector>

#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

std::vector<BlockSpec> blocks() {
  auto blocks = blocks_of(12, 12, 3072, Activation::gelu_tanh);
  for (auto& block : blocks) {
    block.attention.causal = true;
    block.norm = {.eps = 1e-5};
    block.place = NormPlace::before;
  }
  return blocks;
}

void read_blocks(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  fields.require_if_given("scale_attn_weights", true);
  fields.require_if_given("scale_attn_by_inverse_layer_idx", false);
  if (!fields.find("n_inner")) {
    for (auto& block : config.layers) block.mlp.units = 4 * config.hidden_size;
  }
  read_language_head(fields, /*tied=*/true, config);
}

}  // namespace

/// A decoder with absolute positions and LayerNorm before attention and FFN (Radford et al., 2019).
Family gpt2() {
  return {.model_type = "gpt2",
          .class_prefix = "GPT2",
          .base = "transformer",
          .defaults = {.model_type = "gpt2",
                       .vocab_size = 50257,
                       .max_position_embeddings = 1024,
                       .type_vocab_size = 0,
                       .pad_token_id = -1,
                       .input = {.norm = false},
                       .norm = {.eps = 1e-5},
                       .layers = blocks(),
                       .final_norm = true,
                       .language_head = LanguageHead::tied},
          .keys = {{"hidden_size", "n_embd"},
                   {"num_hidden_layers", "n_layer"},
                   {"num_attention_heads", "n_head"},
                   {"intermediate_size", "n_inner"},
                   {"hidden_act", "activation_function"},
                   {"max_position_embeddings", "n_positions"},
                   {"hidden_dropout_prob", "resid_pdrop"},
                   {"attention_probs_dropout_prob", "attn_pdrop"},
                   {"layer_norm_eps", "layer_norm_epsilon"},
                   {"type_vocab_size", ""}},
          .read = read_blocks,
          .write = write_language_head,
          .layer = "h.{}",
          .layer_modules = {{"attention.self.query", "attn.c_attn.query"},
                            {"attention.self.key", "attn.c_attn.key"},
                            {"attention.self.value", "attn.c_attn.value"},
                            {"attention.output.dense", "attn.c_proj"},
                            {"attention.output.LayerNorm", "ln_1"},
                            {"intermediate.dense", "mlp.c_fc"},
                            {"output.dense", "mlp.c_proj"},
                            {"output.LayerNorm", "ln_2"}},
          .joined = {{"attn.c_attn", {"attn.c_attn.query", "attn.c_attn.key", "attn.c_attn.value"}}},
          .transposed_blocks = true,
          .modules = {{"bert.embeddings.word_embeddings", "transformer.wte"},
                      {"bert.embeddings.position_embeddings", "transformer.wpe"},
                      {"bert.encoder.LayerNorm", "transformer.ln_f"}},
          .not_ours = {".attn.bias", ".attn.masked_bias"},  // the causal mask
          .tokenizers = {{"GPT2",
                          TokenizerRules::bytes,
                          {.unk = "<|endoftext|>", .bos = "<|endoftext|>", .eos = "<|endoftext|>"},
                          "gpt2"}}};
}

}  // namespace compression
