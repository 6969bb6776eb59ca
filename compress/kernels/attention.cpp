#include "compress/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "compress/kernels/buffer.h"  // Buffer

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/dot-inl.h"

#ifndef COMPRESS_KERNELS_ATTENTION_SHARED
#define COMPRESS_KERNELS_ATTENTION_SHARED
namespace compression::kernels {

/// One head of one sequence.
struct Head {
  int64_t queries, tokens, size;
  float scale;
  ConstRows query, key, value, context, d_context;
  Rows out, d_query, d_key, d_value;
  float* log_sum;     // [queries]
  const float* bias;  // at a key's place less the query's; may be null
  float* d_bias;      // the same
  bool drop;
  uint32_t dropout_key;
  int32_t dropout_threshold;
  float dropout_scale;
};

}  // namespace compression::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

constexpr int64_t kQueryBlock = 48;

HWY_INLINE int64_t PadColumns(int64_t columns) {
  return (columns + PanelWidth() - 1) / PanelWidth() * PanelWidth();
}

HWY_INLINE const uint32_t* WordsOf(const float* x) {
  return reinterpret_cast<const uint32_t*>(x);
}

/// c[m][n] (+)= sum_k a[m * a_row + k * a_step] b[k][n] for columns that are padded to whole panels.
void Multiply(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t a_row, int64_t a_step,
              const float* b, int64_t ld_b, float* c, int64_t ld_c, bool accumulate) {
  for (int64_t n = 0; n < columns; n += PanelWidth()) {
    EachTile<Strided<Float32>>(rows, [&](TileFunction tile, int64_t first, int64_t) HWY_ATTR {
      tile({.a = WordsOf(a + first * a_row),
            .a_row = a_row,
            .a_word = a_step,
            .b = WordsOf(b + n),
            .b_word = ld_b,
            .words = depth,
            .c = c + first * ld_c + n,
            .ld = ld_c,
            .accumulate = accumulate});
    });
  }
}

/// to[r][c] = from[r][c] * factor for c < columns, zero for the rest of `padded`.
void CopyRows(ConstRows from, int64_t rows, int64_t columns, int64_t padded, float factor, Rows to) {
  const F d;
  const int64_t n = Lanes();
  const auto by = hn::Set(d, factor);
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = from.data + r * from.ld;
    float* out = to.data + r * to.ld;
    int64_t c = 0;
    for (; c + n <= columns; c += n) hn::StoreU(hn::Mul(hn::LoadU(d, in + c), by), d, out + c);
    for (; c < columns; ++c) out[c] = in[c] * factor;
    for (; c < padded; ++c) out[c] = 0.0f;
  }
}

/// to[columns][padded]: the transpose; padding is zero.
void CopyTransposed(ConstRows from, int64_t rows, int64_t columns, int64_t padded, float* to) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * padded + r] = from.data[r * from.ld + c];
    for (int64_t r = rows; r < padded; ++r) to[c * padded + r] = 0.0f;
  }
}

/// Visits a row's vectors; `valid` masks columns past the last token.
template <class Visit>
HWY_INLINE void EachVector(int64_t tokens, int64_t padded, Visit&& visit) {
  const F d;
  for (int64_t c = 0; c < padded; c += Lanes()) {
    visit(c, hn::FirstN(d, static_cast<size_t>(std::max<int64_t>(0, tokens - c))));
  }
}

HWY_INLINE VF HeadDropout(const Head& head, int64_t query, int64_t token) {
  return DropoutFactor((static_cast<uint32_t>(query) << 16) + static_cast<uint32_t>(token), head.dropout_key,
                       head.dropout_threshold, head.dropout_scale);
}

HWY_INLINE void AddBias(const Head& head, int64_t query, float* HWY_RESTRICT scores) {
  if (head.bias == nullptr) return;
  const float* HWY_RESTRICT bias = head.bias - query;
  for (int64_t c = 0; c < head.tokens; ++c) scores[c] += bias[c];
}

int64_t ForwardScratch(int64_t queries, int64_t tokens, int64_t size) {
  const int64_t wide = PadColumns(size), padded = PadColumns(tokens), block = std::min(kQueryBlock, queries);
  return (queries + tokens) * wide + size * padded + block * (padded + wide);
}

void ForwardHead(const Head& head, float* scratch) {
  const F d;
  const int64_t tokens = head.tokens, size = head.size, wide = PadColumns(size), padded = PadColumns(tokens);
  const int64_t block = std::min(kQueryBlock, head.queries);
  float* query = scratch;
  float* value = query + head.queries * wide;
  float* key_t = value + tokens * wide;
  float* scores = key_t + size * padded;
  float* result = scores + block * padded;
  CopyRows(head.query, head.queries, size, wide, head.scale, {query, wide});
  CopyRows(head.value, tokens, size, wide, 1.0f, {value, wide});
  CopyTransposed(head.key, tokens, size, padded, key_t);
  const bool drop = head.drop;
  const auto lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  for (int64_t first = 0; first < head.queries; first += block) {
    const int64_t rows = std::min(block, head.queries - first);
    Multiply(rows, padded, size, query + first * wide, wide, 1, key_t, padded, scores, padded, false);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * padded;
      AddBias(head, first + r, row);
      auto most = lowest;
      EachVector(tokens, padded, [&](int64_t c, auto valid) HWY_ATTR {
        most = hn::Max(most, hn::IfThenElse(valid, hn::Load(d, row + c), lowest));
      });
      const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
      auto sums = hn::Zero(d);
      EachVector(tokens, padded, [&](int64_t c, auto valid) HWY_ATTR {
        const auto e = hn::IfThenElseZero(valid, ExpOfNegative(hn::Sub(hn::Load(d, row + c), hn::Set(d, largest))));
        sums = hn::Add(sums, e);
        hn::Store(e, d, row + c);
      });
      const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
      head.log_sum[first + r] = largest + std::log(sum);
      const auto share = hn::Set(d, 1.0f / sum);
      EachVector(tokens, padded, [&](int64_t c, auto) HWY_ATTR {
        auto p = hn::Mul(hn::Load(d, row + c), share);
        if (drop) p = hn::Mul(p, HeadDropout(head, first + r, c));
        hn::Store(p, d, row + c);
      });
    }
    Multiply(rows, wide, tokens, scores, padded, 1, value, wide, result, wide, false);
    CopyRows({result, wide}, rows, size, size, 1.0f, {head.out.data + first * head.out.ld, head.out.ld});
  }
}

int64_t BackwardScratch(int64_t queries, int64_t tokens, int64_t size) {
  const int64_t wide = PadColumns(size), padded = PadColumns(tokens), block = std::min(kQueryBlock, queries);
  return (2 * queries + 3 * tokens) * wide + 2 * size * padded + block * (2 * padded + wide);
}

void BackwardHead(const Head& head, float* scratch) {
  const F d;
  const int64_t tokens = head.tokens, size = head.size, wide = PadColumns(size), padded = PadColumns(tokens);
  const int64_t block = std::min(kQueryBlock, head.queries);
  const float scale = head.scale;
  float* query = scratch;
  float* d_context = query + head.queries * wide;
  float* key = d_context + head.queries * wide;
  float* d_key = key + tokens * wide;
  float* d_value = d_key + tokens * wide;
  float* key_t = d_value + tokens * wide;
  float* value_t = key_t + size * padded;
  float* scores = value_t + size * padded;
  float* d_scores = scores + block * padded;
  float* d_query = d_scores + block * padded;
  CopyRows(head.query, head.queries, size, wide, scale, {query, wide});
  CopyRows(head.d_context, head.queries, size, wide, 1.0f, {d_context, wide});
  CopyRows(head.key, tokens, size, wide, 1.0f, {key, wide});
  CopyTransposed(head.key, tokens, size, padded, key_t);
  CopyTransposed(head.value, tokens, size, padded, value_t);
  const bool drop = head.drop;
  for (int64_t first = 0; first < head.queries; first += block) {
    const int64_t rows = std::min(block, head.queries - first);
    Multiply(rows, padded, size, query + first * wide, wide, 1, key_t, padded, scores, padded, false);
    Multiply(rows, padded, size, d_context + first * wide, wide, 1, value_t, padded, d_scores, padded, false);
    for (int64_t r = 0; r < rows; ++r) {
      float *p_row = scores + r * padded, *s_row = d_scores + r * padded;
      AddBias(head, first + r, p_row);
      float dot = 0.0f;  // of the context with its gradient: the sum over tokens of p * dp
      const float *c_row = head.context.data + (first + r) * head.context.ld, *g_row = d_context + (first + r) * wide;
      for (int64_t c = 0; c < size; ++c) dot += c_row[c] * g_row[c];
      const auto log_sum = hn::Set(d, head.log_sum[first + r]), mean = hn::Set(d, dot);
      EachVector(tokens, padded, [&](int64_t c, auto valid) HWY_ATTR {
        const auto e = ExpOfNegative(hn::Min(hn::Sub(hn::Load(d, p_row + c), log_sum), hn::Zero(d)));
        const auto p = hn::IfThenElseZero(valid, e);
        auto dp = hn::Load(d, s_row + c);
        auto dropped = p;
        if (drop) {
          const auto factor = HeadDropout(head, first + r, c);
          dp = hn::Mul(dp, factor);
          dropped = hn::Mul(p, factor);
        }
        hn::Store(dropped, d, p_row + c);
        hn::Store(hn::Mul(p, hn::Sub(dp, mean)), d, s_row + c);
      });
      if (head.d_bias != nullptr) {
        float* d_bias = head.d_bias - (first + r);
        for (int64_t c = 0; c < tokens; ++c) d_bias[c] += s_row[c];
      }
    }
    const bool more = first > 0;
    Multiply(tokens, wide, rows, scores, 1, padded, d_context + first * wide, wide, d_value, wide, more);
    Multiply(tokens, wide, rows, d_scores, 1, padded, query + first * wide, wide, d_key, wide, more);
    Multiply(rows, wide, tokens, d_scores, padded, 1, key, wide, d_query, wide, false);
    CopyRows({d_query, wide}, rows, size, size, scale, {head.d_query.data + first * head.d_query.ld, head.d_query.ld});
  }
  CopyRows({d_key, wide}, tokens, size, size, 1.0f, head.d_key);
  CopyRows({d_value, wide}, tokens, size, size, 1.0f, head.d_value);
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "compress/kernels/threads.h"  // parallel_for

namespace compression::kernels {

HWY_EXPORT(ForwardScratch);
HWY_EXPORT(ForwardHead);
HWY_EXPORT(BackwardScratch);
HWY_EXPORT(BackwardHead);

namespace {

/// Calls work(head, begin of its queries, begin of its tokens, begin of its columns, scratch) for each head of each
/// sequence. d_biases [sequences, heads, bias width], or null.
template <class Work>
void each_head(const AttentionShape& shape, int64_t scratch_size, float* log_sum, float* d_biases, Work&& work) {
  parallel_for(shape.sequences * shape.heads, 1, [&](int64_t begin, int64_t end) {
    Buffer<float> scratch(scratch_size);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t s = item / shape.heads, h = item % shape.heads;
      const int64_t token = shape.begin[s], tokens = shape.begin[s + 1] - token;
      const int64_t query = shape.first_query_only ? s : token;
      Head head{};
      head.queries = shape.first_query_only ? 1 : tokens;
      head.tokens = tokens;
      head.size = shape.head_size;
      head.scale = shape.scale;
      head.log_sum = log_sum + h * shape.queries() + query;
      if (shape.bias != nullptr) head.bias = shape.bias + h * shape.bias_width() + shape.reach - 1;
      if (d_biases != nullptr) head.d_bias = d_biases + item * shape.bias_width() + shape.reach - 1;
      head.drop = shape.dropout.enabled();
      head.dropout_threshold = shape.dropout.threshold();
      head.dropout_scale = shape.dropout.scale();
      head.dropout_key = shape.dropout.key(static_cast<uint64_t>(item));
      work(head, query, token, h * shape.head_size, scratch.data());
    }
  });
}

int64_t longest(const AttentionShape& shape) {
  int64_t most = 0;
  for (int64_t s = 0; s < shape.sequences; ++s) most = std::max(most, shape.begin[s + 1] - shape.begin[s]);
  return most;
}

template <class Matrix>
Matrix part(Matrix matrix, int64_t row, int64_t column) {
  return {matrix.data + row * matrix.ld + column, matrix.ld};
}

}  // namespace

void attention_forward(const AttentionShape& shape, ConstRows query, ConstRows key, ConstRows value, Rows context,
                       float* log_sum) {
  const int64_t most = longest(shape);
  const int64_t size = HWY_DYNAMIC_DISPATCH(ForwardScratch)(shape.first_query_only ? 1 : most, most, shape.head_size);
  each_head(shape, size, log_sum, nullptr, [&](Head& head, int64_t q, int64_t t, int64_t column, float* scratch) {
    head.query = part(query, q, column);
    head.key = part(key, t, column);
    head.value = part(value, t, column);
    head.out = part(context, q, column);
    HWY_DYNAMIC_DISPATCH(ForwardHead)(head, scratch);
  });
}

void attention_backward(const AttentionShape& shape, ConstRows query, ConstRows key, ConstRows value, ConstRows context,
                        const float* log_sum, ConstRows d_context, Rows d_query, Rows d_key, Rows d_value,
                        float* d_bias) {
  const int64_t most = longest(shape);
  const int64_t size = HWY_DYNAMIC_DISPATCH(BackwardScratch)(shape.first_query_only ? 1 : most, most, shape.head_size);
  const int64_t biases = d_bias == nullptr ? 0 : shape.heads * shape.bias_width();
  std::vector<float> d_biases(static_cast<size_t>(shape.sequences * biases));
  each_head(shape, size, const_cast<float*>(log_sum), d_bias == nullptr ? nullptr : d_biases.data(),
            [&](Head& head, int64_t q, int64_t t, int64_t column, float* scratch) {
              head.query = part(query, q, column);
              head.key = part(key, t, column);
              head.value = part(value, t, column);
              head.context = part(context, q, column);
              head.d_context = part(d_context, q, column);
              head.d_query = part(d_query, q, column);
              head.d_key = part(d_key, t, column);
              head.d_value = part(d_value, t, column);
              HWY_DYNAMIC_DISPATCH(BackwardHead)(head, scratch);
            });
  for (int64_t s = 0; s < shape.sequences; ++s) {
    for (int64_t i = 0; i < biases; ++i) d_bias[i] += d_biases[static_cast<size_t>(s * biases + i)];
  }
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
