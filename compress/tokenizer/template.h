#pragma once
// What is made of one or two token sequences: truncation, special tokens, windows. Hugging Face's post-processors.

#include <cstdint>
#include <vector>

#include "compress/tokenizer/tokenizer.h"

namespace compression {

/// What a template is made of: one of the texts, or special tokens.
struct TemplatePiece {
  enum class Kind { kFirst, kSecond, kSpecial };
  Kind kind = Kind::kSpecial;
  int64_t type_id = 0;
  std::vector<int64_t> ids = {};  // of kSpecial
};

using SequenceTemplate = std::vector<TemplatePiece>;

/// The tokens of a text, before truncation and special tokens.
struct TokenSequence {
  std::vector<int64_t> ids;
  std::vector<ByteSpan> offsets;  // this and words: only where offsets are wanted
  std::vector<int64_t> words;
};

/// Tokens [begin, end) of a TokenSequence.
struct TokenRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

class EncodingTemplate {
 public:
  EncodingTemplate() = default;

  /// `single` holds the first text once, `pair` holds both texts once.
  EncodingTemplate(SequenceTemplate single, SequenceTemplate pair);

  /// How many tokens of texts there is room for; SIZE_MAX: no limit. Throws ConfigError where max_length is negative
  /// or has no room for the special tokens.
  size_t room(bool is_pair, const EncodeOptions& options) const;

  /// What truncation leaves; `second` is null for a single text. Throws ConfigError as Tokenizer::encode.
  Encoding encode(const TokenSequence& first, const TokenSequence* second, const EncodeOptions& options) const;

  /// As Tokenizer::encode_windows.
  std::vector<Encoding> windows(const TokenSequence& first, const TokenSequence* second, const EncodeOptions& options,
                                int64_t stride) const;

 private:
  const SequenceTemplate& of(bool is_pair) const { return is_pair ? pair_ : single_; }
  Encoding assemble(const TokenSequence& first, TokenRange first_range, const TokenSequence* second,
                    TokenRange second_range, const EncodeOptions& options) const;

  SequenceTemplate single_;
  SequenceTemplate pair_;
};

}  // namespace compression
