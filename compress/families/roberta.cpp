#include "compress/families/family.h"  // Family

namespace compression {

/// Positions are counted from the padding's id; the head has a dense layer of its own.
Family roberta() {
  return {.model_type = "roberta",
          .class_prefix = "Roberta",
          .base = "roberta",
          .defaults = {.model_type = "roberta",
                       .vocab_size = 50265,
                       .pad_token_id = 1,
                       .input = {.positions_after_padding = true},
                       .head = {.first_dropout = std::nullopt, .mlm_activation = Activation::gelu}},
          .sequence_head = {{"head.dense", "classifier.dense"}, {"head.classifier", "classifier.out_proj"}},
          .mlm_head = {{"head", "lm_head"},
                       {"head.dense", "lm_head.dense"},
                       {"head.LayerNorm", "lm_head.layer_norm"},
                       {"head.decoder", "lm_head.decoder"}},
          .not_ours = {"roberta.pooler."},
          .tokenizers = {{"Roberta", TokenizerRules::bytes_marks, mark_tokens(), "roberta", "vocab.json"},
                         {"Longformer", TokenizerRules::bytes_marks, mark_tokens()}}};
}

Family xlm_roberta() {
  auto family = roberta();
  family.model_type = "xlm-roberta";
  family.defaults.model_type = "xlm-roberta";
  family.class_prefix = "XLMRoberta";
  family.defaults.vocab_size = 30522;
  auto camembert = mark_tokens();
  camembert.mask_takes_space = true;
  family.tokenizers = {
      {"XLMRoberta", TokenizerRules::unigram_marks, mark_tokens(), "xlm-roberta", "sentencepiece.bpe.model"},
      {"Camembert", TokenizerRules::unigram_unused, camembert, "camembert"}};
  return family;
}

}  // namespace compression
