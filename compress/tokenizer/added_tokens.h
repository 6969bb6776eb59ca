#pragma once
// Tokens such as [SEP] that are looked for in the text itself, before it is split into words.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer/token_trie.h"

namespace compression {

/// One entry of "added_tokens" in tokenizer.json.
struct AddedToken {
  std::string content;
  int64_t id = 0;
  bool single_word = false;  // only where no letter or digit is next to it
  bool lstrip = false;       // takes the white space before it too
  bool rstrip = false;       // takes the white space behind it too
  bool normalized = false;   // looked for, normalised, in normalised text
  bool special = false;      // no part of a text that is made of tokens
};

struct AddedTokenMatch {
  size_t begin;
  size_t end;
  int64_t id;
};

/// Finds tokens in a text as Hugging Face's AddedVocabulary: leftmost first, then longest, without overlap.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;

  /// The contents are not empty and differ.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  /// The matches in valid UTF-8, in order, with the white space that lstrip and rstrip take.
  std::vector<AddedTokenMatch> find(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  TokenTrie contents_;                       // its ids are places in tokens_
  std::array<bool, 256> starts_token_ = {};  // by first byte
};

}  // namespace compression
