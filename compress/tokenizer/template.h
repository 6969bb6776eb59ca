#pragma once
// What is made of one or two token sequences: truncation, special tokens, windows. Hugging Face's post-processors.

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "compress/tokenizer/tokenizer.h"

namespace compression {

/// What a template is made of: one of the texts, or special tokens.
struct TemplatePiece {
  enum class Kind { kFirst, kSecond, kSpecial };
  Kind kind = Kind::kSpecial;
  int64_t type_id = 0;
  std::vector<int64_t> ids = {};  // of kSpecial
  bool operator==(const TemplatePiece&) const = default;
};

using SequenceTemplate = std::vector<TemplatePiece>;

inline TemplatePiece special_piece(std::vector<int64_t> ids, int64_t type_id) {
  return {.kind = TemplatePiece::Kind::kSpecial, .type_id = type_id, .ids = std::move(ids)};
}

inline TemplatePiece first_piece(int64_t type_id) {
  return {.kind = TemplatePiece::Kind::kFirst, .type_id = type_id};
}

inline TemplatePiece second_piece(int64_t type_id) {
  return {.kind = TemplatePiece::Kind::kSecond, .type_id = type_id};
}

/// A token's spaces at its ends, where Hugging Face's trim_offsets takes them off its offsets.
struct TokenSpaces {
  int32_t leading = 0;
  ByteSpan inside = {};  // without the spaces; may be the wrong way round where all of it is space
};

/// The tokens of a text, before truncation and special tokens.
struct TokenSequence {
  std::vector<int64_t> ids;
  std::vector<ByteSpan> offsets;  // this and words: only where offsets are wanted
  std::vector<int64_t> words;
  std::vector<TokenSpaces> spaces;  // only where they are trimmed too
};

/// Tokens [begin, end) of a TokenSequence.
struct TokenRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

/// How spaces are taken off offsets; a single one may be that which the pre-tokenizer has put before a text.
struct OffsetTrim {
  bool add_prefix_space = false;
};

class EncodingTemplate {
 public:
  /// `single` holds the first text once, `pair` holds both texts once.
  EncodingTemplate(SequenceTemplate single, SequenceTemplate pair, std::optional<OffsetTrim> trim = std::nullopt);

  /// The texts alone.
  EncodingTemplate();

  /// [CLS] a [SEP] and [CLS] a [SEP] b [SEP], where b and its [SEP] are of type 1.
  static EncodingTemplate bert(int64_t cls, int64_t sep);

  /// <s> a </s> and <s> a </s></s> b </s>, all of type 0.
  static EncodingTemplate roberta(int64_t cls, int64_t sep, std::optional<OffsetTrim> trim = std::nullopt);

  const SequenceTemplate& pieces(bool is_pair) const { return is_pair ? pair_ : single_; }

  /// All tokens become of type 0, for models that are not given types.
  void drop_types();

  bool trims() const { return trim_.has_value(); }
  void set_trim(OffsetTrim trim) { trim_ = trim; }

  /// How many tokens of texts there is room for; SIZE_MAX: no limit. Throws ConfigError where max_length is negative
  /// or has no room for the special tokens.
  size_t room(bool is_pair, const EncodeOptions& options) const;

  /// What truncation leaves; `second` is null for a single text. Throws ConfigError as Tokenizer::encode.
  Encoding encode(const TokenSequence& first, const TokenSequence* second, const EncodeOptions& options) const;

  /// As Tokenizer::encode_windows.
  std::vector<Encoding> windows(const TokenSequence& first, const TokenSequence* second, const EncodeOptions& options,
                                int64_t stride) const;

 private:
  Encoding assemble(const TokenSequence& first, TokenRange first_range, const TokenSequence* second,
                    TokenRange second_range, const EncodeOptions& options) const;

  SequenceTemplate single_;
  SequenceTemplate pair_;
  std::optional<OffsetTrim> trim_;
};

}  // namespace compression
