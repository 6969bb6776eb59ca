#include "compress/families/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compress/base/error.h"  // UnsupportedError

namespace compression {
namespace {

/// Layers of one shape, as a family's default config has them.
std::vector<LayerShape> layers(size_t count, int64_t heads, int64_t intermediate_size) {
  return std::vector<LayerShape>(count, {.num_attention_heads = heads, .intermediate_size = intermediate_size});
}

Family bert() {
  return {.model_type = "bert",
          .class_prefix = "Bert",
          .base = "bert",
          .defaults = {},
          .sequence_head = {{"head.dense", "bert.pooler.dense"}, {"head.classifier", "classifier"}},
          .mlm_head = {{"head", "cls.predictions"},
                       {"head.dense", "cls.predictions.transform.dense"},
                       {"head.LayerNorm", "cls.predictions.transform.LayerNorm"},
                       {"head.decoder", "cls.predictions.decoder"}},
          .not_ours = {"cls."}};
}

/// Positions are counted from the padding's id; the head has a dense layer of its own.
Family roberta() {
  return {.model_type = "roberta",
          .class_prefix = "Roberta",
          .base = "roberta",
          .defaults = {.model_type = "roberta",
                       .vocab_size = 50265,
                       .pad_token_id = 1,
                       .encoder = {.positions_after_padding = true},
                       .head = {.first_dropout = std::nullopt, .mlm_activation = Activation::gelu}},
          .sequence_head = {{"head.dense", "classifier.dense"}, {"head.classifier", "classifier.out_proj"}},
          .mlm_head = {{"head", "lm_head"},
                       {"head.dense", "lm_head.dense"},
                       {"head.LayerNorm", "lm_head.layer_norm"},
                       {"head.decoder", "lm_head.decoder"}},
          .not_ours = {"roberta.pooler."}};
}

Family xlm_roberta() {
  auto family = roberta();
  family.model_type = "xlm-roberta";
  family.defaults.model_type = "xlm-roberta";
  family.class_prefix = "XLMRoberta";
  family.defaults.vocab_size = 30522;
  return family;
}

Family distilbert() {
  return {.model_type = "distilbert",
          .class_prefix = "DistilBert",
          .base = "distilbert",
          .defaults = {.model_type = "distilbert",
                       .layers = layers(6, 12, 3072),
                       .classifier_dropout = 0.2,
                       .type_vocab_size = 0,
                       .head = {.activation = Activation::relu}},
          .keys = {{"hidden_size", "dim"},
                   {"num_hidden_layers", "n_layers"},
                   {"num_attention_heads", "n_heads"},
                   {"intermediate_size", "hidden_dim"},
                   {"hidden_act", "activation"},
                   {"hidden_dropout_prob", "dropout"},
                   {"attention_probs_dropout_prob", "attention_dropout"},
                   {"classifier_dropout", "seq_classif_dropout"},
                   {"type_vocab_size", ""},
                   {"layer_norm_eps", ""}},
          .layer = "transformer.layer.{}",
          .layer_modules = {{"attention.self.query", "attention.q_lin"},
                            {"attention.self.key", "attention.k_lin"},
                            {"attention.self.value", "attention.v_lin"},
                            {"attention.output.dense", "attention.out_lin"},
                            {"attention.output.LayerNorm", "sa_layer_norm"},
                            {"intermediate.dense", "ffn.lin1"},
                            {"output.dense", "ffn.lin2"},
                            {"output.LayerNorm", "output_layer_norm"}},
          .sequence_head = {{"head.dense", "pre_classifier"}, {"head.classifier", "classifier"}},
          .mlm_head = {{"head", "vocab_projector"},
                       {"head.dense", "vocab_transform"},
                       {"head.LayerNorm", "vocab_layer_norm"},
                       {"head.decoder", "vocab_projector"}}};
}

/// BERT with narrow embeddings and a head of its own.
Family electra() {
  return {.model_type = "electra",
          .class_prefix = "Electra",
          .base = "electra",
          .defaults = {.model_type = "electra",
                       .hidden_size = 256,
                       .layers = layers(12, 4, 1024),
                       .encoder = {.embedding_size = 128},
                       .head = {.activation = Activation::gelu,
                                .first_dropout = std::nullopt,
                                .mlm_activation = Activation::gelu}},
          .also = {"embedding_size"},
          .modules = {{"bert.embeddings.projection", "electra.embeddings_project"}},
          .sequence_head = {{"head.dense", "classifier.dense"}, {"head.classifier", "classifier.out_proj"}},
          .mlm_head = {{"head", "generator_lm_head"},
                       {"head.dense", "generator_predictions.dense"},
                       {"head.LayerNorm", "generator_predictions.LayerNorm"},
                       {"head.decoder", "generator_lm_head"}},
          .not_ours = {"discriminator_predictions."}};
}

/// Layers share weights, and embeddings are narrow.
Family albert() {
  return {.model_type = "albert",
          .class_prefix = "Albert",
          .base = "albert",
          .defaults = {.model_type = "albert",
                       .vocab_size = 30000,
                       .hidden_size = 4096,
                       .layers = layers(12, 64, 16384),
                       .hidden_act = Activation::gelu_tanh,
                       .hidden_dropout_prob = 0.0,
                       .attention_probs_dropout_prob = 0.0,
                       .classifier_dropout = 0.1,
                       .encoder = {.embedding_size = 128, .embedding_projection = true}},
          .keys = {{"classifier_dropout", "classifier_dropout_prob"}},
          .also = {"embedding_size", "num_hidden_groups", "inner_group_num"},
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
          .not_ours = {"sop_classifier."}};
}

/// A bias on attention scores by relative position, one table for all layers. Whatever config.json says, transformers
/// counts positions from token 1, and puts relative positions in 32 buckets.
Family mpnet() {
  return {.model_type = "mpnet",
          .class_prefix = "MPNet",
          .base = "mpnet",
          .defaults = {.model_type = "mpnet",
                       .vocab_size = 30527,
                       .type_vocab_size = 0,
                       .pad_token_id = 1,
                       .encoder = {.positions_after_padding = true,
                                   .relative = RelativeAttention::bias,
                                   .relative_rows = 32},
                       .head = {.first_dropout = std::nullopt, .mlm_activation = Activation::gelu}},
          .keys = {{"type_vocab_size", ""}, {"classifier_dropout", ""}},
          .also = {"relative_attention_num_buckets"},
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
          .not_ours = {"mpnet.pooler."}};
}

/// Disentangled attention: content and relative position attend to each other.
Family deberta_v2() {
  return {.model_type = "deberta-v2",
          .class_prefix = "DebertaV2",
          .base = "deberta",
          .defaults = {.model_type = "deberta-v2",
                       .vocab_size = 128100,
                       .hidden_size = 1536,
                       .layers = layers(24, 24, 6144),
                       .type_vocab_size = 0,
                       .layer_norm_eps = 1e-7,
                       .encoder = {.masks_queries = true},
                       .head = {.activation = Activation::gelu}},
          .keys = {{"classifier_dropout", "cls_dropout"}},
          .also = {"relative_attention"},
          .layer_modules = {{"attention.self.query", "attention.self.query_proj"},
                            {"attention.self.key", "attention.self.key_proj"},
                            {"attention.self.value", "attention.self.value_proj"},
                            {"attention.self.position_key", "attention.self.pos_key_proj"},
                            {"attention.self.position_query", "attention.self.pos_query_proj"}},
          .modules = {{"bert.encoder.relative.table", "deberta.encoder.rel_embeddings"},
                      {"bert.encoder.relative.LayerNorm", "deberta.encoder.LayerNorm"}},
          .sequence_head = {{"head.dense", "pooler.dense"}, {"head.classifier", "classifier"}},
          .mlm_head = {{"head", "cls.predictions"},
                       {"head.dense", "cls.predictions.transform.dense"},
                       {"head.LayerNorm", "cls.predictions.transform.LayerNorm"},
                       {"head.decoder", "cls.predictions.decoder"}},
          .not_ours = {"deberta.embeddings.position_embeddings.", "cls.", "lm_predictions.", "mask_predictions."}};
}

}  // namespace

const std::vector<OtherName>& Family::head(HeadKind kind) const {
  static const std::vector<OtherName> none, tokens{{"head.classifier", "classifier"}},
      spans{{"head.classifier", "qa_outputs"}};
  switch (kind) {
    case HeadKind::text:
      return sequence_head;
    case HeadKind::tokens:
      return tokens;
    case HeadKind::spans:
      return spans;
    case HeadKind::words:
      return mlm_head;
    case HeadKind::embedding:
      return none;
  }
  throw std::logic_error("head");
}

std::string_view Family::key(std::string_view own) const {
  const auto found = std::ranges::find(keys, own, &OtherName::own);
  return found == keys.end() ? own : found->theirs;
}

bool Family::has(std::string_view name) const {
  return std::ranges::find(also, name) != also.end();
}

const std::vector<Family>& families() {
  static const std::vector<Family> all{bert(),    roberta(), xlm_roberta(), distilbert(),
                                       electra(), albert(),  mpnet(),       deberta_v2()};
  return all;
}

const Family& find_family(const std::string& model_type, const std::string& where) {
  const auto found = std::ranges::find(families(), model_type, &Family::model_type);
  if (found != families().end()) return *found;
  std::vector<std::string_view> supported;
  for (const auto& each : families()) supported.push_back(each.model_type);
  throw UnsupportedError(fmt::format("{}: found \"{}\", supported: {}", where, model_type, fmt::join(supported, ", ")));
}

}  // namespace compression
