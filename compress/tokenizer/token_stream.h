#pragma once
// The text of tokens that come one by one.

#include <cstdint>
#include <string>
#include <vector>

#include "compress/tokenizer/tokenizer.h"

namespace compression {

/// What add() and finish() return, one after the other, is what Tokenizer::decode() makes of all ids. A character whose
/// bytes are not all there yet is kept back, so each part is valid UTF-8. Where tokens of single bytes are no UTF-8
/// together, the characters among them that were given already stay. Holds a reference to the tokenizer.
class TokenStream {
 public:
  explicit TokenStream(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  /// The part that the token ends; empty where its last character may go on.
  std::string add(int64_t id);

  /// What was kept back.
  std::string finish();

 private:
  std::string given(const std::string& text);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<int64_t> ids_;  // of the part before, since the first token of a text may lose a space, and of this one
  size_t count_before_ = 0;   // of the part before
  std::string before_;        // its text
};

}  // namespace compression
