#pragma once
// Attention for inference: one head of one sequence. Queries, keys, values and probabilities are rounded to int16 with
// a scale a head, and multiplied exactly: as fast as bfloat16, more precise, and the same integers on every instruction
// set. Scores are kept for a few queries at a time.

#include <cstdint>

namespace compression::ops {

/// Tokens of the longest text: with more, probabilities are too small for what int16 and sums of 32 bits leave them.
constexpr int64_t int16_attention_limit = 1 << 18;

/// Queries and keys need not be those of the same tokens.
struct Int16Head {
  int64_t queries = 0, tokens = 0, size = 0;  // tokens: with a key and a value; at least 1
  const float *query = nullptr, *key = nullptr, *value = nullptr;
  int64_t ld = 0;  // floats from token to token of the three
  float scale = 1.0f;
  /// Added to the scores: bias[place of the key - place of the query]; null: none.
  const float* bias = nullptr;
  /// Places of the queries and of the tokens in their text; null: they follow each other, and the first query has the
  /// first key's place.
  const int64_t *query_place = nullptr, *key_place = nullptr;
  float* context = nullptr;  // [queries, size], rows ld_context floats apart
  int64_t ld_context = 0;
};

/// Words of memory that a head of so many tokens takes, or of fewer.
int64_t int16_attention_scratch(int64_t tokens, int64_t size);

/// context = softmax(scale query key^T + bias) value, for at most int16_attention_limit tokens.
void int16_attention(const Int16Head& head, uint32_t* scratch);

}  // namespace compression::ops
