#pragma once
// What is done to a text before it is split: the normalizers of Hugging Face tokenizers.

#include <string>
#include <string_view>

#include "compress/tokenizer/aligned_text.h"

namespace compression {

class Normalizer {
 public:
  virtual ~Normalizer() = default;

  /// Appends the normalised form of `text`, which is valid UTF-8, to `result`.
  virtual void append(const TextView& text, AlignedText& result) const = 0;

  std::string normalize(std::string_view text) const {
    AlignedText result;
    append({text}, result);
    return result.text;
  }
};

}  // namespace compression
