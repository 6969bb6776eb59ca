#include <algorithm>

#include "compress/base/limits.h"             // layers
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

/// num_hidden_groups and inner_group_num; num_hidden_layers is how often a group is gone through.
void read_groups(const FamilyFields& fields, ModelConfig& config) {
  read_embedding_size(fields, config);
  const auto repeats = static_cast<int64_t>(config.layers.size());
  const LayerGroups groups{.repeats = repeats,
                           .groups = fields.integer("num_hidden_groups", 1, 1, repeats),
                           .inner = fields.integer("inner_group_num", 1, 1, limits::layers / repeats)};
  config.shared_layers = shared_layers(groups);
  config.layers.resize(config.shared_layers.size(), config.layers.front());
}

void write_groups(const ModelConfig& config, nlohmann::json& out) {
  write_embedding_size(config, out);
  const auto groups = layer_groups(config);
  out["num_hidden_groups"] = groups.groups;
  out["inner_group_num"] = groups.inner;
}

}  // namespace

/// Layers share weights, and embeddings are narrow.
Family albert() {
  return {.model_type = "albert",
          .class_prefix = "Albert",
          .base = "albert",
          .defaults = {.model_type = "albert",
                       .vocab_size = 30000,
                       .hidden_size = 4096,
                       .input = {.embedding_size = 128, .projection = true},
                       .layers = blocks_of(12, 64, 16384, Activation::gelu_tanh),
                       .hidden_dropout_prob = 0.0,
                       .attention_probs_dropout_prob = 0.0,
                       .classifier_dropout = 0.1},
          .keys = {{"classifier_dropout", "classifier_dropout_prob"}},
          .read = read_groups,
          .write = write_groups,
          .layer = "encoder.albert_layer_groups.{}.albert_layers.{}",
          .layer_modules = {{"attention.self.query", "attention.query"},
                            {"attention.self.key", "attention.key"},
                            {"attention.self.value", "attention.value"},
                            {"attention.output.dense", "attention.dense"},
                            {"attention.output.LayerNorm", "attention.LayerNorm"},
                            {"intermediate.dense", "ffn"},
                            {"output.dense", "ffn_output"},
                            {"output.LayerNorm", "full_layer_layer_norm"}},
          .modules = {{"bert.embeddings.projection", "albert.encoder.embedding_hidden_mapping_in"}},
          .sequence_head = {{"head.dense", "albert.pooler"}, {"head.classifier", "classifier"}},
          .mlm_head = {{"head", "predictions"},
                       {"head.dense", "predictions.dense"},
                       {"head.LayerNorm", "predictions.LayerNorm"},
                       {"head.decoder", "predictions.decoder"}},
          .not_ours = {"sop_classifier."},
          .tokenizers = {{"Albert",
                          TokenizerRules::unigram_quotes,
                          {"[CLS]", "[SEP]", "<pad>", "<unk>", "[MASK]", "[CLS]", "[SEP]"},
                          "albert",
                          "spiece.model"}}};
}

}  // namespace compression
