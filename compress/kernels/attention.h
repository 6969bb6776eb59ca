#pragma once
// Scaled dot-product attention (Vaswani et al., arXiv 1706.03762) over sequences that follow each other without
// padding. The probabilities are not kept: the backward pass makes them again from the logarithms of the softmax's
// sums, as in FlashAttention (Dao et al., arXiv 2205.14135).

#include <cstdint>

#include "compress/kernels/dropout.h"  // Dropout

namespace compression::kernels {

struct AttentionShape {
  int64_t sequences = 0;
  const int64_t* begin = nullptr;  // [sequences + 1]: sequence s has the tokens [begin[s], begin[s + 1])
  int64_t heads = 0, head_size = 0;
  int64_t group = 1;              // heads that share a key and a value
  float scale = 1.0f;             // what scores are multiplied by, before the bias
  bool first_query_only = false;  // queries are those of each sequence's first token: [sequences, heads * head_size]
  bool causal = false;            // a token attends to itself and those before it
  int64_t window = 0;             // a token attends to those at most so far away; 0: to all
  Dropout dropout;                // of the probabilities
  /// Added to the scores, or null: [heads, 2 * reach - 1], for a key and a query of one sequence at
  /// reach - 1 + key - query. No sequence is longer than `reach`.
  const float* bias = nullptr;
  int64_t reach = 0;

  int64_t bias_width() const { return 2 * reach - 1; }
  int64_t width() const { return heads * head_size; }
  int64_t kv_width() const { return width() / group; }
  int64_t queries() const { return first_query_only ? sequences : begin[sequences]; }
};

/// A matrix of rows `ld` floats apart.
struct ConstRows {
  const float* data;
  int64_t ld;
};
struct Rows {
  float* data;
  int64_t ld;
};

/// context [queries, width] of query [queries, width], key and value [tokens, kv_width]. log_sum [heads, queries] is
/// kept for the backward pass. Products are made for the keys that a block of queries attends to.
void attention_forward(const AttentionShape& shape, ConstRows query, ConstRows key, ConstRows value, Rows context,
                       float* log_sum);

/// The gradients of query, key and value from that of the context; that of the bias is added to d_bias.
void attention_backward(const AttentionShape& shape, ConstRows query, ConstRows key, ConstRows value, ConstRows context,
                        const float* log_sum, ConstRows d_context, Rows d_query, Rows d_key, Rows d_value,
                        float* d_bias = nullptr);

}  // namespace compression::kernels
