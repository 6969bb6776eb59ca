#include "compress/families/family.h"  // Family

namespace compression {

Family distilbert() {
  return {.model_type = "distilbert",
          .class_prefix = "DistilBert",
          .base = "distilbert",
          .defaults = {.model_type = "distilbert",
                       .type_vocab_size = 0,
                       .layers = blocks_of(6, 12, 3072),
                       .classifier_dropout = 0.2,
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
                       {"head.decoder", "vocab_projector"}},
          .tokenizers = {{"DistilBert", TokenizerRules::word_pieces, bracket_tokens(), "distilbert"}}};
}

}  // namespace compression
