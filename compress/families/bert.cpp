#include "compress/families/family.h"  // Family

namespace compression {

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
          .not_ours = {"cls."},
          .tokenizers = {{"Bert", TokenizerRules::word_pieces, bracket_tokens(), "bert", "vocab.txt"},
                         {"LayoutLM", TokenizerRules::word_pieces, bracket_tokens()},
                         {"Lxmert", TokenizerRules::word_pieces, bracket_tokens()},
                         {"MobileBert", TokenizerRules::word_pieces, bracket_tokens(), "mobilebert"},
                         {"SqueezeBert", TokenizerRules::word_pieces, bracket_tokens()}}};
}

}  // namespace compression
