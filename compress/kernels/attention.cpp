#include "compress/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
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
  int64_t before, behind;  // a query's keys are those at most so far before and behind it
  bool adds;               // to d_key and d_value, of which the heads of a group have the same
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

/// to[r][c] (+)= from[r][c] * factor for c < columns, zero for the rest of `padded`.
void CopyRows(ConstRows from, int64_t rows, int64_t columns, int64_t padded, float factor, Rows to, bool add = false) {
  const F d;
  const int64_t n = Lanes();
  const auto by = hn::Set(d, factor);
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = from.data + r * from.ld;
    float* out = to.data + r * to.ld;
    int64_t c = 0;
    for (; c + n <= columns; c += n) {
      const auto v = hn::Mul(hn::LoadU(d, in + c), by);
      hn::StoreU(add ? hn::Add(hn::LoadU(d, out + c), v) : v, d, out + c);
    }
    for (; c < columns; ++c) {
      const float v = in[c] * factor;
      out[c] = add ? out[c] + v : v;
    }
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

/// Keys of a block of queries, whole panels from `first` on; or of one query, from the block's first.
struct Keys {
  int64_t first, last;
  int64_t count() const { return last - first; }
};

HWY_INLINE Keys KeysOfBlock(const Head& head, int64_t query, int64_t rows) {
  return {std::max<int64_t>(0, query - head.before) / PanelWidth() * PanelWidth(),
          std::min(head.tokens, query + rows + head.behind)};
}

HWY_INLINE Keys KeysOf(const Head& head, int64_t query, const Keys& block) {
  return {std::max(block.first, query - head.before) - block.first,
          std::min(block.last, query + head.behind + 1) - block.first};
}

/// Visits the vectors of a row that hold the keys [first, last), which `valid` masks.
template <class Visit>
HWY_INLINE void EachVector(const Keys& keys, Visit&& visit) {
  const F d;
  for (int64_t c = keys.first / Lanes() * Lanes(); c < keys.last; c += Lanes()) {
    auto valid = hn::FirstN(d, static_cast<size_t>(keys.last - c));
    if (c < keys.first) valid = hn::AndNot(hn::FirstN(d, static_cast<size_t>(keys.first - c)), valid);
    visit(c, valid);
  }
}

/// Zeroes what EachVector() does not visit of `count` keys.
HWY_INLINE void ZeroOthers(const Keys& keys, int64_t count, float* row) {
  std::fill(row, row + keys.first / Lanes() * Lanes(), 0.0f);
  for (int64_t c = (keys.last + Lanes() - 1) / Lanes() * Lanes(); c < count; ++c) row[c] = 0.0f;
}

HWY_INLINE VF HeadDropout(const Head& head, int64_t query, int64_t token) {
  return DropoutFactor((static_cast<uint32_t>(query) << 16) + static_cast<uint32_t>(token), head.dropout_key,
                       head.dropout_threshold, head.dropout_scale);
}

/// `row` has the scores of the keys from `first` on.
HWY_INLINE void AddBias(const Head& head, int64_t query, int64_t first, const Keys& own, float* HWY_RESTRICT row) {
  if (head.bias == nullptr) return;
  const float* HWY_RESTRICT bias = head.bias - query + first;
  for (int64_t c = own.first; c < own.last; ++c) row[c] += bias[c];
}

/// Sizes in floats: of a row of features, of all keys' transpose, of the scores of a query.
struct Sizes {
  int64_t wide, padded, block, span;
  explicit Sizes(const Head& head)
      : wide(PadColumns(head.size)), padded(PadColumns(head.tokens)), block(std::min(kQueryBlock, head.queries)) {
    span = std::min(padded, PadColumns(block + head.before + head.behind + PanelWidth()));
  }
};

int64_t ForwardScratch(const Head& head) {
  const Sizes s(head);
  return (head.queries + head.tokens) * s.wide + head.size * s.padded + s.block * (s.span + s.wide);
}

/// Scores of a query, of the block's keys, to the probabilities that its values are multiplied with.
void SoftmaxRow(const Head& head, int64_t query, const Keys& block, float* row) {
  const F d;
  const bool drop = head.drop;
  const auto own = KeysOf(head, query, block);
  AddBias(head, query, block.first, own, row);
  const auto lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  auto most = lowest;
  EachVector(own, [&](int64_t c, auto valid)
                      HWY_ATTR { most = hn::Max(most, hn::IfThenElse(valid, hn::Load(d, row + c), lowest)); });
  const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  auto sums = hn::Zero(d);
  EachVector(own, [&](int64_t c, auto valid) HWY_ATTR {
    const auto e = hn::IfThenElseZero(valid, ExpOfNegative(hn::Sub(hn::Load(d, row + c), hn::Set(d, largest))));
    sums = hn::Add(sums, e);
    hn::Store(e, d, row + c);
  });
  const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  head.log_sum[query] = largest + std::log(sum);
  const auto share = hn::Set(d, 1.0f / sum);
  EachVector(own, [&](int64_t c, auto) HWY_ATTR {
    auto p = hn::Mul(hn::Load(d, row + c), share);
    if (drop) p = hn::Mul(p, HeadDropout(head, query, block.first + c));
    hn::Store(p, d, row + c);
  });
  ZeroOthers(own, block.count(), row);
}

void ForwardHead(const Head& head, float* scratch) {
  const int64_t tokens = head.tokens, size = head.size;
  const Sizes s(head);
  float* query = scratch;
  float* value = query + head.queries * s.wide;
  float* key_t = value + tokens * s.wide;
  float* scores = key_t + size * s.padded;
  float* result = scores + s.block * s.span;
  CopyRows(head.query, head.queries, size, s.wide, head.scale, {query, s.wide});
  CopyRows(head.value, tokens, size, s.wide, 1.0f, {value, s.wide});
  CopyTransposed(head.key, tokens, size, s.padded, key_t);
  for (int64_t first = 0; first < head.queries; first += s.block) {
    const int64_t rows = std::min(s.block, head.queries - first);
    const auto keys = KeysOfBlock(head, first, rows);
    Multiply(rows, PadColumns(keys.count()), size, query + first * s.wide, s.wide, 1, key_t + keys.first, s.padded,
             scores, s.span, false);
    for (int64_t r = 0; r < rows; ++r) SoftmaxRow(head, first + r, keys, scores + r * s.span);
    Multiply(rows, s.wide, keys.count(), scores, s.span, 1, value + keys.first * s.wide, s.wide, result, s.wide, false);
    CopyRows({result, s.wide}, rows, size, size, 1.0f, {head.out.data + first * head.out.ld, head.out.ld});
  }
}

int64_t BackwardScratch(const Head& head) {
  const Sizes s(head);
  return (2 * head.queries + 3 * head.tokens) * s.wide + 2 * head.size * s.padded + s.block * (2 * s.span + s.wide);
}

/// p_row: scores of a query to its probabilities after dropout; s_row: the gradients of these to those of the scores.
/// d_context is that of the query.
void SoftmaxRowBackward(const Head& head, int64_t query, const Keys& block, const float* d_context, float* p_row,
                        float* s_row) {
  const F d;
  const bool drop = head.drop;
  const auto own = KeysOf(head, query, block);
  AddBias(head, query, block.first, own, p_row);
  float dot = 0.0f;  // of the context with its gradient: the sum over tokens of p * dp
  const float* context = head.context.data + query * head.context.ld;
  for (int64_t c = 0; c < head.size; ++c) dot += context[c] * d_context[c];
  const auto log_sum = hn::Set(d, head.log_sum[query]), mean = hn::Set(d, dot);
  EachVector(own, [&](int64_t c, auto valid) HWY_ATTR {
    const auto e = ExpOfNegative(AtMost(hn::Sub(hn::Load(d, p_row + c), log_sum), 0.0f));
    const auto p = hn::IfThenElseZero(valid, e);
    auto dp = hn::Load(d, s_row + c);
    auto dropped = p;
    if (drop) {
      const auto factor = HeadDropout(head, query, block.first + c);
      dp = hn::Mul(dp, factor);
      dropped = hn::Mul(p, factor);
    }
    hn::Store(dropped, d, p_row + c);
    hn::Store(hn::Mul(p, hn::Sub(dp, mean)), d, s_row + c);
  });
  ZeroOthers(own, block.count(), p_row);
  ZeroOthers(own, block.count(), s_row);
  if (head.d_bias == nullptr) return;
  float* d_bias = head.d_bias - query + block.first;
  for (int64_t c = own.first; c < own.last; ++c) d_bias[c] += s_row[c];
}

void BackwardHead(const Head& head, float* scratch) {
  const int64_t tokens = head.tokens, size = head.size;
  const Sizes s(head);
  float* query = scratch;
  float* d_context = query + head.queries * s.wide;
  float* key = d_context + head.queries * s.wide;
  float* d_key = key + tokens * s.wide;
  float* d_value = d_key + tokens * s.wide;
  float* key_t = d_value + tokens * s.wide;
  float* value_t = key_t + size * s.padded;
  float* scores = value_t + size * s.padded;
  float* d_scores = scores + s.block * s.span;
  float* d_query = d_scores + s.block * s.span;
  CopyRows(head.query, head.queries, size, s.wide, head.scale, {query, s.wide});
  CopyRows(head.d_context, head.queries, size, s.wide, 1.0f, {d_context, s.wide});
  CopyRows(head.key, tokens, size, s.wide, 1.0f, {key, s.wide});
  CopyTransposed(head.key, tokens, size, s.padded, key_t);
  CopyTransposed(head.value, tokens, size, s.padded, value_t);
  int64_t seen = 0;  // keys of the blocks before, to whose gradients is added
  for (int64_t first = 0; first < head.queries; first += s.block) {
    const int64_t rows = std::min(s.block, head.queries - first);
    const auto keys = KeysOfBlock(head, first, rows);
    const auto scores_of = [&](const float* a, const float* b_t, float* to) {
      Multiply(rows, PadColumns(keys.count()), size, a + first * s.wide, s.wide, 1, b_t + keys.first, s.padded, to,
               s.span, false);
    };
    scores_of(query, key_t, scores);
    scores_of(d_context, value_t, d_scores);
    for (int64_t r = 0; r < rows; ++r) {
      SoftmaxRowBackward(head, first + r, keys, d_context + (first + r) * s.wide, scores + r * s.span,
                         d_scores + r * s.span);
    }
    const auto add_to = [&](float* to, const float* weights, const float* b, int64_t from, int64_t last, bool more) {
      Multiply(last - from, s.wide, rows, weights + from - keys.first, 1, s.span, b + first * s.wide, s.wide,
               to + from * s.wide, s.wide, more);
    };
    for (const auto& [to, weights, b] : {std::tuple(d_value, scores, d_context), std::tuple(d_key, d_scores, query)}) {
      add_to(to, weights, b, keys.first, seen, true);
      add_to(to, weights, b, seen, keys.last, false);
    }
    seen = keys.last;
    Multiply(rows, s.wide, keys.count(), d_scores, s.span, 1, key + keys.first * s.wide, s.wide, d_query, s.wide,
             false);
    CopyRows({d_query, s.wide}, rows, size, size, head.scale,
             {head.d_query.data + first * head.d_query.ld, head.d_query.ld});
  }
  for (float* gradient : {d_key, d_value}) std::fill(gradient + seen * s.wide, gradient + tokens * s.wide, 0.0f);
  CopyRows({d_key, s.wide}, tokens, size, size, 1.0f, head.d_key, head.adds);
  CopyRows({d_value, s.wide}, tokens, size, size, 1.0f, head.d_value, head.adds);
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

/// Where a head's rows and columns begin in the matrices.
struct Place {
  int64_t query, query_column, token, token_column;
};

int64_t longest(const AttentionShape& shape) {
  int64_t most = 0;
  for (int64_t s = 0; s < shape.sequences; ++s) most = std::max(most, shape.begin[s + 1] - shape.begin[s]);
  return most;
}

/// The sizes of a head of a sequence of so many tokens.
Head sized_head(const AttentionShape& shape, int64_t tokens) {
  Head head{};
  head.queries = shape.first_query_only ? 1 : tokens;
  head.tokens = tokens;
  head.size = shape.head_size;
  head.before = shape.window == 0 ? tokens : std::min(shape.window, tokens);
  head.behind = shape.causal ? 0 : head.before;
  return head;
}

/// Calls work(head, its place, scratch) for each head of each sequence; those of a group one after the other. d_biases
/// [sequences, heads, bias width], or null.
template <class Work>
void each_head(const AttentionShape& shape, int64_t scratch_size, float* log_sum, float* d_biases, Work&& work) {
  const int64_t groups = shape.heads / shape.group;
  parallel_for(shape.sequences * groups, 1, [&](int64_t begin, int64_t end) {
    Buffer<float> scratch(scratch_size);
    for (int64_t item = begin * shape.group; item < end * shape.group; ++item) {
      const int64_t s = item / shape.heads, h = item % shape.heads;
      const int64_t token = shape.begin[s], tokens = shape.begin[s + 1] - token;
      const int64_t query = shape.first_query_only ? s : token;
      auto head = sized_head(shape, tokens);
      head.adds = h % shape.group > 0;
      head.scale = shape.scale;
      head.log_sum = log_sum + h * shape.queries() + query;
      if (shape.bias != nullptr) head.bias = shape.bias + h * shape.bias_width() + shape.reach - 1;
      if (d_biases != nullptr) head.d_bias = d_biases + item * shape.bias_width() + shape.reach - 1;
      head.drop = shape.dropout.enabled();
      head.dropout_threshold = shape.dropout.threshold();
      head.dropout_scale = shape.dropout.scale();
      head.dropout_key = shape.dropout.key(static_cast<uint64_t>(item));
      work(head, Place{query, h * shape.head_size, token, h / shape.group * shape.head_size}, scratch.data());
    }
  });
}

template <class Matrix>
Matrix part(Matrix matrix, int64_t row, int64_t column) {
  return {matrix.data + row * matrix.ld + column, matrix.ld};
}

}  // namespace

void attention_forward(const AttentionShape& shape, ConstRows query, ConstRows key, ConstRows value, Rows context,
                       float* log_sum) {
  const int64_t size = HWY_DYNAMIC_DISPATCH(ForwardScratch)(sized_head(shape, longest(shape)));
  each_head(shape, size, log_sum, nullptr, [&](Head& head, const Place& at, float* scratch) {
    head.query = part(query, at.query, at.query_column);
    head.key = part(key, at.token, at.token_column);
    head.value = part(value, at.token, at.token_column);
    head.out = part(context, at.query, at.query_column);
    HWY_DYNAMIC_DISPATCH(ForwardHead)(head, scratch);
  });
}

void attention_backward(const AttentionShape& shape, ConstRows query, ConstRows key, ConstRows value, ConstRows context,
                        const float* log_sum, ConstRows d_context, Rows d_query, Rows d_key, Rows d_value,
                        float* d_bias) {
  const int64_t size = HWY_DYNAMIC_DISPATCH(BackwardScratch)(sized_head(shape, longest(shape)));
  const int64_t biases = d_bias == nullptr ? 0 : shape.heads * shape.bias_width();
  std::vector<float> d_biases(static_cast<size_t>(shape.sequences * biases));
  each_head(shape, size, const_cast<float*>(log_sum), d_bias == nullptr ? nullptr : d_biases.data(),
            [&](Head& head, const Place& at, float* scratch) {
              head.query = part(query, at.query, at.query_column);
              head.key = part(key, at.token, at.token_column);
              head.value = part(value, at.token, at.token_column);
              head.context = part(context, at.query, at.query_column);
              head.d_context = part(d_context, at.query, at.query_column);
              head.d_query = part(d_query, at.query, at.query_column);
              head.d_key = part(d_key, at.token, at.token_column);
              head.d_value = part(d_value, at.token, at.token_column);
              HWY_DYNAMIC_DISPATCH(BackwardHead)(head, scratch);
            });
  for (int64_t s = 0; s < shape.sequences; ++s) {
    for (int64_t i = 0; i < biases; ++i) d_bias[i] += d_biases[static_cast<size_t>(s * biases + i)];
  }
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
