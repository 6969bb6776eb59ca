#pragma once
// The text cleaning of BERT tokenizers, as Hugging Face's BertNormalizer.

#include <array>
#include <string>
#include <string_view>

#include "compress/tokenizer/normalizer.h"

namespace compression {

struct BertNormalizerOptions {
  bool clean_text = true;            // drops control characters and U+FFFD, makes every white space ' '
  bool handle_chinese_chars = true;  // a space on either side of a CJK ideograph
  bool strip_accents = true;         // canonical decomposition without its nonspacing marks
  bool lowercase = true;
};

class BertNormalizer final : public Normalizer {
 public:
  explicit BertNormalizer(const BertNormalizerOptions& options);

  void append(const TextView& text, AlignedText& result) const override;

 private:
  struct AsciiCharacter {
    char replacement;
    bool kept;
  };

  BertNormalizerOptions options_;
  std::array<AsciiCharacter, 128> ascii_;
};

}  // namespace compression
