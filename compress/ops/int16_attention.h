#pragma once
// Attention for inference: one head of one sequence. Queries, keys, values and probabilities are rounded to int16 with
// a scale a head, and multiplied exactly: as fast as bfloat16, more precise, and the same integers on every instruction
// set. Scores are kept for a few queries at a time.

#include <cstdint>

namespace compression::ops {

struct Int16Head {
  int64_t queries = 0, tokens = 0, size = 0;  // queries are those of the first tokens
  const float *query = nullptr, *key = nullptr, *value = nullptr;
  int64_t ld = 0;  // floats from token to token of the three
  float scale = 1.0f;
  const float* bias = nullptr;  // added to the score of query i and key j: bias[j - i]; null: none
  float* context = nullptr;     // [queries, size], rows ld_context floats apart
  int64_t ld_context = 0;
};

/// Words of memory that a head of so many tokens takes, or of fewer.
int64_t int16_attention_scratch(int64_t tokens, int64_t size);

/// context = softmax(scale query key^T + bias) value, for fewer than 65536 tokens.
void int16_attention(const Int16Head& head, uint32_t* scratch);

}  // namespace compression::ops
