#pragma once
// The text cleaning of BERT tokenizers, as Hugging Face's BertNormalizer.

#include <array>
#include <string>
#include <string_view>

namespace compression {

struct BertNormalizerOptions {
  bool clean_text = true;            // drops control characters and U+FFFD, makes every white space ' '
  bool handle_chinese_chars = true;  // a space on either side of a CJK ideograph
  bool strip_accents = true;         // canonical decomposition without its nonspacing marks
  bool lowercase = true;
};

class BertNormalizer {
 public:
  explicit BertNormalizer(const BertNormalizerOptions& options);

  /// Appends the normalised form of `text`, which is valid UTF-8, to `result`.
  void append(std::string_view text, std::string& result) const;

  std::string normalize(std::string_view text) const;

 private:
  struct AsciiCharacter {
    char replacement;
    bool kept;
  };

  BertNormalizerOptions options_;
  std::array<AsciiCharacter, 128> ascii_;
};

}  // namespace compression
