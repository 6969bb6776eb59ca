#pragma once
// Attention for inference: one head of one sequence. Scores are kept for a few queries at a time.

#include <cstdint>

namespace compression::kernels {

/// What products are made of. int16: queries, keys, values and probabilities are rounded to it with a scale a head, and
/// multiplied exactly: as fast as bfloat16, more precise, and the same integers on every instruction set. float32:
/// nothing is rounded to fewer bits.
enum class AttentionNumber { int16, float32 };

/// Tokens of the longest text: with more, probabilities are too small for what int16 and sums of 32 bits leave them.
constexpr int64_t attention_limit = 1 << 18;

/// What a head's queries and keys make of the distance between them (DeBERTa, arXiv 2006.03654): rows of a table, each
/// in the form of a key and of a query, and which of them a distance has.
struct HeadPositions {
  const int32_t* row = nullptr;  // row[place of the key - place of the query], from 0 to rows - 1, never ascending
  int64_t rows = 0;
  const uint32_t *key = nullptr, *query = nullptr;  // of pack_head_rows; null: without that term
  float key_step = 0.0f, query_step = 0.0f;
};

/// Rows [rows, size], `ld` floats apart, as numbers of the kind times a step, in panels. Returns the step; `to` has
/// room for head_rows_words(number, rows, size).
int64_t head_rows_words(AttentionNumber number, int64_t rows, int64_t size);
float pack_head_rows(AttentionNumber number, const float* from, int64_t rows, int64_t size, int64_t ld, uint32_t* to);

/// Queries and keys need not be those of the same tokens.
struct AttentionHead {
  AttentionNumber number = AttentionNumber::int16;
  int64_t queries = 0, tokens = 0, size = 0;  // tokens: with a key and a value; at least 1
  const float *query = nullptr, *key = nullptr, *value = nullptr;
  int64_t ld = 0;  // floats from token to token of the three
  float scale = 1.0f;
  /// A query attends to keys of its own place and of those that are at most so far before it, and behind it.
  static constexpr int64_t everywhere = int64_t{1} << 40;
  int64_t before = everywhere, after = everywhere;
  /// Added to the scores: bias[place of the key - place of the query]; null: none.
  const float* bias = nullptr;
  /// Null, or: to the product of a query and a key are added that of the query and `key`'s row of their distance, and
  /// that of the key and `query`'s. Rows are packed as numbers of the head's kind.
  const HeadPositions* positions = nullptr;
  /// Places of the queries and of the tokens in their text; null: they follow each other, and the first query has the
  /// first key's place.
  const int64_t *query_place = nullptr, *key_place = nullptr;
  float* context = nullptr;  // [queries, size], rows ld_context floats apart
  int64_t ld_context = 0;
};

/// Words of memory that a head of so many tokens takes, or of fewer, and of positions of so many rows.
int64_t head_attention_scratch(AttentionNumber number, int64_t tokens, int64_t size, int64_t position_rows = 0);

/// context = softmax(scale (query key^T + positions) + bias) value, for at most attention_limit tokens; 0 for a query
/// that attends to no key. Products are made for the keys alone that queries attend to. What is no number stays so
/// where products are float32.
void head_attention(const AttentionHead& head, uint32_t* scratch);

/// Rotary positions (RoFormer, arXiv 2104.09864, as GPT-NeoX has them): the halves of each of some rows of `size`
/// numbers, which follow each other, are the parts of complex numbers, and turned. `turn`: cosines and then sines of
/// the angles, size / 2 each.
void rotate_rows(float* x, int64_t rows, int64_t size, const float* turn);

}  // namespace compression::kernels
