#include "compress/kernels/head_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/head_attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

constexpr float kMost = 32767.0f;

// Kinds of words: Int16 and Float32 (dot-inl.h), in which nothing is rounded.

template <class Dot>
constexpr bool kRounds = !std::is_same_v<Dot, Float32>;

/// Keys that are summed in a row: sums of sums, since the longest texts have more than floats can add one to the other.
template <class Dot>
constexpr int64_t kSummed = kRounds<Dot> ? attention_limit + 1024 : 1024;

template <class Dot>
HWY_INLINE int64_t WordsOf(int64_t values) {
  return kRounds<Dot> ? (values + 1) / 2 : values;
}

/// A context is a sum over tokens of probability times value, below 2^31. The more tokens, the more bits the
/// probabilities need, which are smaller then, and the fewer the values, whose errors average out.
struct ContextBits {
  float total, most_value;  // what the probabilities of a query add up to at most; the largest value
  explicit ContextBits(int64_t tokens)
      : total(std::min(500000.0f, kMost * std::sqrt(static_cast<float>(tokens)))),
        most_value(std::min(kMost, std::floor(2147000000.0f / (total + 0.5f * static_cast<float>(tokens))))) {}
};

/// The first `count` of a vector's values, zeros after them. Reads no further, as MaskedLoad may.
HWY_INLINE VF LoadFirst(const float* from, int64_t count) {
  const F d;
  if (count >= Lanes()) return hn::LoadU(d, from);
  HWY_ALIGN float part[HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = from[i];
  return hn::Load(d, part);
}

/// The largest magnitude of rows of a matrix.
float Largest(const float* from, int64_t rows, int64_t columns, int64_t ld) {
  const F d;
  const int64_t n = Lanes();
  auto most = hn::Zero(d);
  float rest = 0.0f;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = from + r * ld;
    int64_t c = 0;
    for (; c + n <= columns; c += n) most = hn::Max(most, hn::Abs(hn::LoadU(d, row + c)));
    for (; c < columns; ++c) rest = std::max(rest, std::abs(row[c]));
  }
  return std::max(hn::GetLane(hn::MaxOfLanes(d, most)), rest);
}

struct Scale {
  float step, inverse;
};
/// Of rows whose largest number becomes `limit`.
template <class Dot>
Scale ScaleOf(const float* from, int64_t rows, int64_t columns, int64_t ld, float limit) {
  if constexpr (!kRounds<Dot>) return {1.0f, 1.0f};
  const float largest = Largest(from, rows, columns, ld);
  return largest > 1e-30f ? Scale{largest / limit, limit / largest} : Scale{0.0f, 0.0f};
}

/// The nearest integer, which fits; 0 for what is no number.
HWY_INLINE int16_t RoundShort(float scaled) {
  return scaled > -32768.5f && scaled < 32767.5f ? static_cast<int16_t>(std::nearbyint(scaled)) : int16_t{0};
}

/// A row as int16 in whole words; the last may be half filled.
void RoundRow(const float* HWY_RESTRICT from, int64_t columns, float inverse, int16_t* HWY_RESTRICT to) {
  const F d;
  const hn::Rebind<int16_t, F> half;
  const int64_t n = Lanes();
  const auto by = hn::Set(d, inverse);
  int64_t c = 0;
  for (; c + n <= columns; c += n) {
    hn::StoreU(hn::DemoteTo(half, hn::NearestInt(hn::Mul(hn::LoadU(d, from + c), by))), half, to + c);
  }
  for (; c < columns; ++c) to[c] = RoundShort(from[c] * inverse);
  if (columns % 2 != 0) to[columns] = 0;
}

/// Rows as words, `ld` from row to row.
struct WordRows {
  const uint32_t* words;
  int64_t ld;
};

/// Rows as they are multiplied; rounded ones are in `memory`.
template <class Dot>
HWY_INLINE WordRows RowsAsWords(const float* from, int64_t rows, int64_t size, int64_t ld, float inverse,
                                uint32_t* memory) {
  if constexpr (!kRounds<Dot>) return {reinterpret_cast<const uint32_t*>(from), ld};
  const int64_t words = WordsOf<Dot>(size);
  for (int64_t r = 0; r < rows; ++r) {
    RoundRow(from + r * ld, size, inverse, reinterpret_cast<int16_t*>(memory + r * words));
  }
  return {memory, words};
}

/// Four words of every fourth row, beginning with the first: those of a row in each block of 128 bits.
template <class D>
HWY_INLINE hn::Vec<D> EveryFourthRow(D d, const uint32_t* from, int64_t ld) {
  if constexpr (hn::MaxLanes(d) == 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    const auto rows = static_cast<int64_t>(hn::MaxLanes(half));
    return hn::Combine(d, EveryFourthRow(half, from + rows * ld, ld), EveryFourthRow(half, from, ld));
  }
}

/// Words of as many rows as a vector has lanes as columns, `width` apart.
HWY_INLINE void Transpose(const WordRows& from, int64_t words, int64_t width, uint32_t* HWY_RESTRICT to) {
  const U32 d;
  const hn::Repartition<uint64_t, U32> pairs;
  int64_t k = 0;
  for (; k + 4 <= words; k += 4) {
    const uint32_t* row = from.words + k;
    const auto a = EveryFourthRow(d, row, from.ld), b = EveryFourthRow(d, row + from.ld, from.ld);
    const auto e = EveryFourthRow(d, row + 2 * from.ld, from.ld), f = EveryFourthRow(d, row + 3 * from.ld, from.ld);
    const auto low = hn::BitCast(pairs, hn::InterleaveLower(d, a, b)),
               high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
    const auto low2 = hn::BitCast(pairs, hn::InterleaveLower(d, e, f)),
               high2 = hn::BitCast(pairs, hn::InterleaveUpper(d, e, f));
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low, low2)), d, to + k * width);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low, low2)), d, to + (k + 1) * width);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high, high2)), d, to + (k + 2) * width);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high, high2)), d, to + (k + 3) * width);
  }
  for (const int64_t n = Lanes(); k < words; ++k) {
    for (int64_t j = 0; j < n; ++j) to[k * width + j] = from.words[j * from.ld + k];
  }
}

/// Panels of keys: word k of key j is word k of its row. `memory` has room for as many rows as a vector has lanes.
template <class Dot>
void PackKeys(const float* keys, int64_t count, int64_t size, int64_t ld, float inverse, uint32_t* memory,
              uint32_t* to) {
  const int64_t n = Lanes(), width = PanelWidth(), words = WordsOf<Dot>(size);
  for (int64_t j = 0; j < (count + width - 1) / width * width; j += n) {
    const int64_t rows = std::clamp<int64_t>(count - j, 0, n);
    auto from = RowsAsWords<Dot>(keys + j * ld, rows, size, ld, inverse, memory);
    if (rows < n) {
      if (!kRounds<Dot>) {
        for (int64_t r = 0; r < rows; ++r) std::copy_n(from.words + r * ld, words, memory + r * words);
      }
      std::fill_n(memory + rows * words, (n - rows) * words, 0u);
      from = {memory, words};
    }
    Transpose(from, words, width, to + j / width * words * width + j % width);
  }
}

/// Panels of the values' columns: word t of a column is that of token t, or, rounded, of tokens 2t and 2t + 1.
template <class Dot>
void PackValues(const AttentionHead& head, float inverse, int64_t words, uint32_t* to) {
  const F d;
  const I32 di;
  const int64_t n = Lanes(), width = PanelWidth(), panels = (head.size + width - 1) / width;
  const auto by = hn::Set(d, inverse);
  for (int64_t p = 0; p < panels; ++p) {
    for (int64_t t = 0; t < words; ++t, to += width) {
      const float* even = head.value + (kRounds<Dot> ? 2 : 1) * t * head.ld + p * width;
      const bool alone = 2 * t + 1 == head.tokens;
      for (int64_t c = 0; c < width; c += n) {
        const int64_t left = head.size - p * width - c;
        if constexpr (!kRounds<Dot>) {
          hn::StoreU(LoadFirst(even + c, left), d, reinterpret_cast<float*>(to + c));
          continue;
        }
        const auto round = [&](const float* from)
                               HWY_ATTR { return hn::NearestInt(hn::Mul(LoadFirst(from + c, left), by)); };
        const auto high = alone ? hn::Zero(di) : hn::ShiftLeft<16>(round(even + head.ld));
        hn::StoreU(hn::Or(hn::And(round(even), hn::Set(di, 0xFFFF)), high), di, reinterpret_cast<int32_t*>(to + c));
      }
    }
  }
}

/// 2^x for x <= 0, relative error below 3e-6.
HWY_INLINE VF Exp2OfNegative(VF x) {
  const F d;
  const I32 di;
  x = AtLeast(x, -126.0f);
  const auto n = hn::Round(x);
  const auto r = hn::Sub(x, n);
  auto p = hn::Set(d, 1.3333558e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 9.6181291e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.5504109e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.4022651e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.9314718e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::ConvertTo(di, n))));
}

/// The unit of scores: of rounded products that of a logarithm to base 2.
template <class Dot>
constexpr float kScoreUnit = kRounds<Dot> ? 1.44269504088896341f : 1.0f;

/// Probabilities of one query's scores, times a factor; returns what they add up to. Scores have whole panels. As
/// floats the largest is 1, in the scores' place. As int16 it is 32767 unless their sum is too large, and their sum is
/// that of the rounded: of many small ones it differs from the sum before.
template <class Dot>
float Softmax(float* HWY_RESTRICT scores, int64_t tokens, int64_t padded, const float* bias, float total,
              int16_t* HWY_RESTRICT to) {
  const F d;
  const hn::Rebind<int16_t, F> half;
  const int64_t n = Lanes();
  const auto lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  auto most = lowest;
  for (int64_t c = 0; c < padded; c += n) {
    const int64_t left = tokens - c;
    auto v = hn::LoadU(d, scores + c);
    if (bias != nullptr) {
      v = hn::MulAdd(LoadFirst(bias + c, left), hn::Set(d, kScoreUnit<Dot>), v);
    }
    if (left < n) v = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(std::max<int64_t>(left, 0))), v, lowest);
    if (bias != nullptr || left < n) hn::StoreU(v, d, scores + c);
    most = hn::Max(most, v);
  }
  const auto largest = hn::MaxOfLanes(d, most);
  auto sums = hn::Zero(d);
  for (int64_t first = 0; first < padded; first += kSummed<Dot>) {
    const auto last = std::min(padded, first + kSummed<Dot>);
    auto some = hn::Zero(d);
    for (int64_t c = first; c < last; c += n) {
      const auto below = hn::Sub(hn::LoadU(d, scores + c), largest);
      const auto e = kRounds<Dot> ? Exp2OfNegative(below) : ExpOfNegative(below);
      hn::StoreU(e, d, scores + c);
      some = hn::Add(some, e);
    }
    sums = hn::Add(sums, some);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  if constexpr (!kRounds<Dot>) return sum;
  const auto by = hn::Set(d, std::min(kMost, total / sum));
  const I32 di;
  auto integers = hn::Zero(di);
  for (int64_t c = 0; c < padded; c += n) {
    const auto p = hn::NearestInt(hn::Mul(hn::LoadU(d, scores + c), by));
    integers = hn::Add(integers, p);
    hn::StoreU(hn::DemoteTo(half, p), half, to + c);
  }
  return static_cast<float>(hn::GetLane(hn::SumOfLanes(di, integers)));
}

/// A score is a sum of `size` products, below 2^31.
float LargestOfScores(int64_t size) {
  return std::min(kMost, std::floor(std::sqrt(2147483000.0f / static_cast<float>(std::max<int64_t>(size, 1)))));
}

template <class Dot>
int64_t RowsWordsOf(int64_t rows, int64_t size) {
  const int64_t width = PanelWidth();
  return (rows + width - 1) / width * width * WordsOf<Dot>(size);
}

template <class Dot>
float PackRowsOf(const float* from, int64_t rows, int64_t size, int64_t ld, uint32_t* to) {
  const auto scale = ScaleOf<Dot>(from, rows, size, ld, LargestOfScores(size));
  std::vector<uint32_t> memory(static_cast<size_t>(Lanes() * WordsOf<Dot>(size)));
  PackKeys<Dot>(from, rows, size, ld, scale.inverse, memory.data(), to);
  return scale.step;
}

template <class Dot>
struct HeadSizes {
  int64_t words, token_words, padded, wide;  // of a query; of a column of values; tokens and columns in whole panels
  int64_t position_rows;                     // in whole panels
  int64_t query, key, value, scores, probabilities, context, bias, of_queries, of_keys;
  HeadSizes(int64_t tokens, int64_t size, int64_t positions) {
    const int64_t width = PanelWidth(), rows = Dot::kRows;
    const auto whole = [&](int64_t columns) { return (columns + width - 1) / width * width; };
    words = WordsOf<Dot>(size);
    token_words = WordsOf<Dot>(tokens);
    padded = whole(tokens);
    wide = whole(size);
    query = whole(std::max(rows, Lanes()) * words);
    key = padded * words;
    value = wide * token_words;
    scores = rows * padded;
    probabilities = kRounds<Dot> ? rows * padded / 2 + width : 0;  // else where the scores are
    context = rows * wide;
    bias = padded;
    position_rows = whole(positions);
    of_queries = rows * position_rows;
    of_keys = tokens * position_rows;
  }
  int64_t all() const { return query + key + value + scores + probabilities + context + bias + of_queries + of_keys; }
};

HWY_INLINE int64_t PlaceOf(const int64_t* places, int64_t token) {
  return places == nullptr ? token : places[token];
}

/// Products of the rows in `content` with those rows of a table that the distances from `nearest` to `furthest`, places
/// of keys less those of queries, have: to[row of content][row of the table].
template <class Dot>
void MultiplyRows(TileFunction tile, const WordRows& content, const HeadSizes<Dot>& s, const HeadPositions& positions,
                  const uint32_t* table, int64_t nearest, int64_t furthest, const float* scale, float* to) {
  const int64_t width = PanelWidth();
  const int64_t first = positions.row[furthest] / width, last = positions.row[nearest] / width;
  for (int64_t p = first; p <= last; ++p) {
    tile({.a = content.words,
          .a_row = content.ld,
          .b = table + p * width * s.words,
          .words = s.words,
          .row_scale = scale,
          .c = to + p * width,
          .ld = s.position_rows});
  }
}

/// scores[j] += of_query[row[j]] + of_keys[j][row[j]]; either may be null.
void AddPositions(const int32_t* HWY_RESTRICT row, int64_t tokens, const float* HWY_RESTRICT of_query,
                  const float* HWY_RESTRICT of_keys, int64_t ld, float* HWY_RESTRICT scores) {
  const F d;
  const I32 di;
  const int64_t n = Lanes();
  const auto apart = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(ld)));
  int64_t j = 0;
  for (; j + n <= tokens; j += n) {
    const auto index = hn::LoadU(di, row + j);
    auto sum = hn::LoadU(d, scores + j);
    if (of_query != nullptr) sum = hn::Add(sum, hn::GatherIndex(d, of_query, index));
    if (of_keys != nullptr) sum = hn::Add(sum, hn::GatherIndex(d, of_keys + j * ld, hn::Add(index, apart)));
    hn::StoreU(sum, d, scores + j);
  }
  for (; j < tokens; ++j) {
    if (of_query != nullptr) scores[j] += of_query[row[j]];
    if (of_keys != nullptr) scores[j] += of_keys[j * ld + row[j]];
  }
}

/// The keys that a query attends to: [first, last). Both ascend with the queries.
struct Keys {
  int64_t first, last;
};
HWY_INLINE Keys KeysOf(const AttentionHead& head, int64_t query) {
  if (head.before == AttentionHead::everywhere && head.after == AttentionHead::everywhere) return {0, head.tokens};
  const int64_t place = PlaceOf(head.query_place, query);
  const auto keys_before = [&](int64_t end) {
    if (head.key_place == nullptr) return std::clamp<int64_t>(end, 0, head.tokens);
    return std::lower_bound(head.key_place, head.key_place + head.tokens, end) - head.key_place;
  };
  return {keys_before(place - head.before), keys_before(place + head.after + 1)};
}

/// Of what is by the place of a key less that of a query, this query's, a value a key; in `memory` where the tokens do
/// not follow each other.
template <class T>
const T* OfQuery(const T* by_place, const AttentionHead& head, int64_t query, T* memory) {
  if (by_place == nullptr) return nullptr;
  if (head.key_place == nullptr) return by_place - query;
  const T* from = by_place - head.query_place[query];
  for (int64_t j = 0; j < head.tokens; ++j) memory[j] = from[head.key_place[j]];
  return memory;
}

/// What a head needs room for, in its scratch.
template <class Dot>
struct HeadMemory {
  HeadSizes<Dot> sizes;
  uint32_t *query, *key, *value, *probabilities;
  float *scores, *context, *bias, *of_queries, *of_keys;
  int32_t* rows;  // where the bias is: of a query one is used after the other

  HeadMemory(const AttentionHead& head, uint32_t* scratch)
      : sizes(head.tokens, head.size, head.positions != nullptr ? head.positions->rows : 0) {
    const auto take = [&](int64_t words) { return std::exchange(scratch, scratch + words); };
    const auto take_floats = [&](int64_t words) { return reinterpret_cast<float*>(take(words)); };
    query = take(sizes.query);
    key = take(sizes.key);
    value = take(sizes.value);
    scores = take_floats(sizes.scores);
    probabilities = kRounds<Dot> ? take(sizes.probabilities) : reinterpret_cast<uint32_t*>(scores);
    context = take_floats(sizes.context);
    bias = take_floats(sizes.bias);
    rows = reinterpret_cast<int32_t*>(bias);
    of_queries = take_floats(sizes.of_queries);
    of_keys = take_floats(sizes.of_keys);
  }
};

/// Some queries, and the keys that any of them attends to, from the panel of the first of these on.
struct Queries {
  int64_t first, rows, begin, end;

  Queries(const AttentionHead& head, int64_t own_first, int64_t own_rows)
      : first(own_first),
        rows(own_rows),
        begin(KeysOf(head, first).first / PanelWidth() * PanelWidth()),
        end(KeysOf(head, first + rows - 1).last) {}
};

/// Probabilities in the place of the scores of queries; to[r] is `step`, a value's, divided by what those of a query
/// add up to.
template <class Dot>
void SoftmaxRows(const AttentionHead& head, const HeadMemory<Dot>& memory, const Queries& queries, float total,
                 float step, float* to) {
  constexpr float lowest = std::numeric_limits<float>::lowest();
  const int64_t width = PanelWidth(), begin = queries.begin, end = queries.end, ld = memory.sizes.padded;
  const int64_t padded = (end - begin + width - 1) / width * width;
  for (int64_t r = 0; r < queries.rows; ++r) {
    const auto query = queries.first + r;
    float* row = memory.scores + r * ld;
    if (const auto* positions = head.positions; positions != nullptr) {
      const auto row_ld = memory.sizes.position_rows;
      AddPositions(OfQuery(positions->row, head, query, memory.rows), head.tokens,
                   positions->key != nullptr ? memory.of_queries + r * row_ld : nullptr,
                   positions->query != nullptr ? memory.of_keys : nullptr, row_ld, row);
    }
    const auto own = KeysOf(head, query);
    for (auto j = begin; j < own.first; ++j) row[j] = lowest;
    for (auto j = own.last; j < end; ++j) row[j] = lowest;
    const float* bias = OfQuery(head.bias, head, query, memory.bias);
    const float sum = Softmax<Dot>(row + begin, end - begin, padded, bias == nullptr ? nullptr : bias + begin, total,
                                   reinterpret_cast<int16_t*>(memory.probabilities + WordsOf<Dot>(r * ld + begin)));
    to[r] = own.first < own.last ? step / sum : 0.0f;
  }
}

/// The context of queries: probabilities times values, of at most kSummed keys in a row.
template <class Dot>
void MultiplyValues(TileFunction tile, const AttentionHead& head, const HeadMemory<Dot>& memory, const Queries& queries,
                    const float* value_scale) {
  const int64_t width = PanelWidth();
  for (int64_t c = 0; c < head.size; c += width) {
    const bool fits = c + width <= head.size;
    float* to = head.context + queries.first * head.ld_context + c;
    auto key_from = queries.begin;
    do {
      const auto key_to = std::min(queries.end, key_from + kSummed<Dot>);
      const auto before = WordsOf<Dot>(key_from);
      const bool more = key_from > queries.begin, beside = more || !fits;
      tile({.a = memory.probabilities + before,
            .a_row = WordsOf<Dot>(memory.sizes.padded),
            .b = memory.value + c * memory.sizes.token_words + before * width,
            .words = WordsOf<Dot>(key_to) - before,
            .row_scale = value_scale,
            .c = beside ? memory.context : to,
            .ld = beside ? width : head.ld_context});
      for (int64_t r = 0; beside && r < queries.rows; ++r) {
        const float* from = memory.context + r * width;
        float* own = to + r * head.ld_context;
        for (int64_t i = 0; i < std::min(width, head.size - c); ++i) own[i] = more ? own[i] + from[i] : from[i];
      }
      key_from = key_to;
    } while (key_from < queries.end);
  }
}

template <class Dot>
void AttendHeadOf(const AttentionHead& head, uint32_t* scratch) {
  const HeadMemory<Dot> memory(head, scratch);
  const auto& s = memory.sizes;
  const int64_t width = PanelWidth();
  const float limit = LargestOfScores(head.size);
  const auto q = ScaleOf<Dot>(head.query, head.queries, head.size, head.ld, limit);
  const auto k = ScaleOf<Dot>(head.key, head.tokens, head.size, head.ld, limit);
  const ContextBits bits(std::min(head.tokens, head.before + head.after + 1));
  const auto v = ScaleOf<Dot>(head.value, head.tokens, head.size, head.ld, bits.most_value);
  PackKeys<Dot>(head.key, head.tokens, head.size, head.ld, k.inverse, memory.query, memory.key);
  PackValues<Dot>(head, v.inverse, s.token_words, memory.value);
  const float unit = head.scale * kScoreUnit<Dot>;
  float score_scale[Dot::kRows], value_scale[Dot::kRows], position_scale[Dot::kRows];
  std::fill_n(score_scale, Dot::kRows, q.step * k.step * unit);

  const auto* positions = head.positions;
  const auto query_place = [&](int64_t i) { return PlaceOf(head.query_place, i); };
  const auto key_place = [&](int64_t j) { return PlaceOf(head.key_place, j); };
  const auto some_rows = [&](const float* from, int64_t first, int64_t rows, float inverse) HWY_ATTR {
    return RowsAsWords<Dot>(from + first * head.ld, rows, head.size, head.ld, inverse, memory.query);
  };
  if (positions != nullptr && positions->query != nullptr) {  // keys ask for it
    std::fill_n(position_scale, Dot::kRows, k.step * positions->query_step * unit);
    EachTile<Dot>(head.tokens, [&](TileFunction tile, int64_t first, int64_t rows) HWY_ATTR {
      MultiplyRows(tile, some_rows(head.key, first, rows, k.inverse), s, *positions, positions->query,
                   key_place(first) - query_place(head.queries - 1), key_place(first + rows - 1) - query_place(0),
                   position_scale, memory.of_keys + first * s.position_rows);
    });
  }
  const bool queries_ask = positions != nullptr && positions->key != nullptr;
  if (queries_ask) std::fill_n(position_scale, Dot::kRows, q.step * positions->key_step * unit);

  EachTile<Dot>(head.queries, [&](TileFunction tile, int64_t first, int64_t rows) HWY_ATTR {
    const auto own_queries = some_rows(head.query, first, rows, q.inverse);
    const Queries queries(head, first, rows);
    for (int64_t j = queries.begin; j < queries.end; j += width) {
      tile({.a = own_queries.words,
            .a_row = own_queries.ld,
            .b = memory.key + j * s.words,
            .words = s.words,
            .row_scale = score_scale,
            .c = memory.scores + j,
            .ld = s.padded});
    }
    if (queries_ask) {
      MultiplyRows(tile, own_queries, s, *positions, positions->key, key_place(0) - query_place(first + rows - 1),
                   key_place(head.tokens - 1) - query_place(first), position_scale, memory.of_queries);
    }
    SoftmaxRows(head, memory, queries, bits.total, v.step, value_scale);
    MultiplyValues(tile, head, memory, queries, value_scale);
  });
}

template <class Work>
HWY_INLINE auto OfNumber(AttentionNumber number, Work&& work) {
  return number == AttentionNumber::int16 ? work(Int16()) : work(Float32());
}

int64_t RowsWords(AttentionNumber number, int64_t rows, int64_t size) {
  return OfNumber(number, [&](auto dot) HWY_ATTR { return RowsWordsOf<decltype(dot)>(rows, size); });
}

float PackRows(AttentionNumber number, const float* from, int64_t rows, int64_t size, int64_t ld, uint32_t* to) {
  return OfNumber(number, [&](auto dot) HWY_ATTR { return PackRowsOf<decltype(dot)>(from, rows, size, ld, to); });
}

int64_t ScratchWords(AttentionNumber number, int64_t tokens, int64_t size, int64_t position_rows) {
  return OfNumber(number,
                  [&](auto dot) HWY_ATTR { return HeadSizes<decltype(dot)>(tokens, size, position_rows).all(); });
}

void AttendHead(const AttentionHead& head, uint32_t* scratch) {
  OfNumber(head.number, [&](auto dot) HWY_ATTR { AttendHeadOf<decltype(dot)>(head, scratch); });
}

void RotateRows(float* x, int64_t rows, int64_t size, const float* turn) {
  const F d;
  const int64_t half = size / 2;
  const float *cosine = turn, *sine = turn + half;
  for (int64_t r = 0; r < rows; ++r, x += size) {
    float* y = x + half;
    EachColumn(
        half,
        [&](int64_t c) HWY_ATTR {
          const auto u = hn::LoadU(d, x + c), v = hn::LoadU(d, y + c);
          const auto by = hn::LoadU(d, cosine + c), across = hn::LoadU(d, sine + c);
          hn::StoreU(hn::NegMulAdd(v, across, hn::Mul(u, by)), d, x + c);
          hn::StoreU(hn::MulAdd(u, across, hn::Mul(v, by)), d, y + c);
        },
        [&](int64_t c) {
          const float u = x[c], v = y[c];
          x[c] = u * cosine[c] - v * sine[c];
          y[c] = v * cosine[c] + u * sine[c];
        });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace compression::kernels {

HWY_EXPORT(ScratchWords);
HWY_EXPORT(AttendHead);
HWY_EXPORT(RowsWords);
HWY_EXPORT(PackRows);
HWY_EXPORT(RotateRows);

int64_t head_rows_words(AttentionNumber number, int64_t rows, int64_t size) {
  return HWY_DYNAMIC_DISPATCH(RowsWords)(number, rows, size);
}

float pack_head_rows(AttentionNumber number, const float* from, int64_t rows, int64_t size, int64_t ld, uint32_t* to) {
  return HWY_DYNAMIC_DISPATCH(PackRows)(number, from, rows, size, ld, to);
}

int64_t head_attention_scratch(AttentionNumber number, int64_t tokens, int64_t size, int64_t position_rows) {
  return HWY_DYNAMIC_DISPATCH(ScratchWords)(number, tokens, size, position_rows);
}

void head_attention(const AttentionHead& head, uint32_t* scratch) {
  if (head.queries > 0) HWY_DYNAMIC_DISPATCH(AttendHead)(head, scratch);
}

void rotate_rows(float* x, int64_t rows, int64_t size, const float* turn) {
  HWY_DYNAMIC_DISPATCH(RotateRows)(x, rows, size, turn);
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
