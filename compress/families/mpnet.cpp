#include <string>

#include "compress/base/limits.h"             // positions
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

constexpr int64_t relative_rows = 32, pad_token_id = 1;

std::vector<BlockSpec> blocks() {
  auto blocks = blocks_of(12, 12, 3072);
  for (auto& block : blocks) block.attention.positions = Positions::bias;
  return blocks;
}

void read_positions(const FamilyFields& fields, ModelConfig& config) {
  config.relative.rows =
      fields.integer("relative_attention_num_buckets", relative_rows, relative_rows, limits::positions);
  config.relative.heads = config.layers.front().attention.heads;
  if (config.pad_token_id != pad_token_id) {
    fields.all().fail_unsupported("pad_token_id", std::to_string(config.pad_token_id), std::to_string(pad_token_id));
  }
}

void write_positions(const ModelConfig& config, nlohmann::json& out) {
  out["relative_attention_num_buckets"] = config.relative.rows;
}

}  // namespace

/// A bias on attention scores by relative position, one table for all layers. Whatever config.json says, transformers
/// counts positions from token 1, and puts relative positions in 32 buckets.
Family mpnet() {
  auto tokens = mark_tokens();
  tokens.unk = "[UNK]";
  tokens.mask_takes_space = true;
  return {.model_type = "mpnet",
          .class_prefix = "MPNet",
          .base = "mpnet",
          .defaults = {.model_type = "mpnet",
                       .vocab_size = 30527,
                       .type_vocab_size = 0,
                       .pad_token_id = pad_token_id,
                       .input = {.positions_after_padding = true},
                       .relative = {.rows = relative_rows},
                       .layers = blocks(),
                       .head = {.first_dropout = std::nullopt, .mlm_activation = Activation::gelu}},
          .keys = {{"type_vocab_size", ""}, {"classifier_dropout", ""}},
          .read = read_positions,
          .write = write_positions,
          .layer_modules = {{"attention.self.query", "attention.attn.q"},
                            {"attention.self.key", "attention.attn.k"},
                            {"attention.self.value", "attention.attn.v"},
                            {"attention.output.dense", "attention.attn.o"},
                            {"attention.output.LayerNorm", "attention.LayerNorm"}},
          .modules = {{"bert.encoder.relative.table", "mpnet.encoder.relative_attention_bias"}},
          .sequence_head = {{"head.dense", "classifier.dense"}, {"head.classifier", "classifier.out_proj"}},
          .mlm_head = {{"head", "lm_head"},
                       {"head.dense", "lm_head.dense"},
                       {"head.LayerNorm", "lm_head.layer_norm"},
                       {"head.decoder", "lm_head.decoder"}},
          .not_ours = {"mpnet.pooler."},
          .tokenizers = {{"MPNet", TokenizerRules::word_pieces_marks, tokens, "mpnet"}}};
}

}  // namespace compression
