#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {

/// BERT with narrow embeddings and a head of its own.
Family electra() {
  return {.model_type = "electra",
          .class_prefix = "Electra",
          .base = "electra",
          .defaults = {.model_type = "electra",
                       .hidden_size = 256,
                       .input = {.embedding_size = 128},
                       .layers = blocks_of(12, 4, 1024),
                       .head = {.activation = Activation::gelu,
                                .first_dropout = std::nullopt,
                                .mlm_activation = Activation::gelu}},
          .read = read_embedding_size,
          .write = write_embedding_size,
          .modules = {{"bert.embeddings.projection", "electra.embeddings_project"}},
          .sequence_head = {{"head.dense", "classifier.dense"}, {"head.classifier", "classifier.out_proj"}},
          .mlm_head = {{"head", "generator_lm_head"},
                       {"head.dense", "generator_predictions.dense"},
                       {"head.LayerNorm", "generator_predictions.LayerNorm"},
                       {"head.decoder", "generator_lm_head"}},
          .not_ours = {"discriminator_predictions."},
          .tokenizers = {{"Electra", TokenizerRules::word_pieces, bracket_tokens(), "electra"}}};
}

}  // namespace compression
