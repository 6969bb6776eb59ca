#include "compress/kernels/int16_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/int16_attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

constexpr float kMost = 32767.0f;

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
HWY_INLINE Scale ScaleOf(float largest, float limit) {
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

/// Panels of keys: word k of key j is values 2k and 2k + 1 of its row. `row` has room for one.
void PackKeys(const float* keys, int64_t count, int64_t size, int64_t ld, float inverse, uint32_t* row, uint32_t* to) {
  const int64_t width = PanelWidth(), panels = (count + width - 1) / width, words = (size + 1) / 2;
  for (int64_t j = 0; j < panels * width; ++j) {
    uint32_t* column = to + j / width * words * width + j % width;
    if (j < count) {
      RoundRow(keys + j * ld, size, inverse, reinterpret_cast<int16_t*>(row));
    } else if (j == count) {
      std::fill_n(row, words, 0u);
    }
    for (int64_t k = 0; k < words; ++k) column[k * width] = row[k];
  }
}

/// Panels of the values' columns: word t of a column is that of tokens 2t and 2t + 1.
void PackValues(const Int16Head& head, float inverse, int64_t words, uint32_t* to) {
  const F d;
  const I32 di;
  const int64_t n = Lanes(), width = PanelWidth(), panels = (head.size + width - 1) / width;
  const auto by = hn::Set(d, inverse);
  for (int64_t p = 0; p < panels; ++p) {
    for (int64_t t = 0; t < words; ++t, to += width) {
      const float* even = head.value + 2 * t * head.ld + p * width;
      const bool alone = 2 * t + 1 == head.tokens;
      for (int64_t c = 0; c < width; c += n) {
        const int64_t left = head.size - p * width - c;
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
  x = hn::Max(hn::Set(d, -126.0f), x);
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

/// Probabilities of one query's scores, whose unit is that of a logarithm to base 2: as int16, the largest 32767 unless
/// their sum is too large. Returns what they add up to as they were rounded: of many small ones that differs from their
/// sum before. Scores have whole panels.
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
      v = hn::MulAdd(LoadFirst(bias + c, left), hn::Set(d, 1.44269504088896341f), v);
    }
    if (left < n) v = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(std::max<int64_t>(left, 0))), v, lowest);
    if (bias != nullptr || left < n) hn::StoreU(v, d, scores + c);
    most = hn::Max(most, v);
  }
  const auto largest = hn::MaxOfLanes(d, most);
  auto sums = hn::Zero(d);
  for (int64_t c = 0; c < padded; c += n) {
    const auto e = Exp2OfNegative(hn::Sub(hn::LoadU(d, scores + c), largest));
    hn::StoreU(e, d, scores + c);
    sums = hn::Add(sums, e);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
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

int64_t RowsWords(int64_t rows, int64_t size) {
  const int64_t width = PanelWidth();
  return (rows + width - 1) / width * width * ((size + 1) / 2);
}

float PackRows(const float* from, int64_t rows, int64_t size, int64_t ld, uint32_t* to) {
  const auto scale = ScaleOf(Largest(from, rows, size, ld), LargestOfScores(size));
  std::vector<uint32_t> row(static_cast<size_t>((size + 1) / 2));
  PackKeys(from, rows, size, ld, scale.inverse, row.data(), to);
  return scale.step;
}

struct Sizes {
  int64_t words, token_words, padded, wide;  // of a query; of a column of values; tokens and columns in whole panels
  int64_t position_rows;                     // in whole panels
  int64_t query, key, value, scores, probabilities, context, bias, of_queries, of_keys;
  Sizes(int64_t tokens, int64_t size, int64_t positions) {
    const int64_t width = PanelWidth(), rows = Int16::kRows;
    const auto whole = [&](int64_t columns) { return (columns + width - 1) / width * width; };
    words = (size + 1) / 2;
    token_words = (tokens + 1) / 2;
    padded = whole(tokens);
    wide = whole(size);
    query = whole(rows * words + 1);
    key = padded * words;
    value = wide * token_words;
    scores = rows * padded;
    probabilities = rows * padded / 2 + width;
    context = rows * wide;
    bias = padded;
    position_rows = whole(positions);
    of_queries = rows * position_rows;
    of_keys = tokens * position_rows;
  }
};

int64_t ScratchWords(int64_t tokens, int64_t size, int64_t position_rows) {
  const Sizes s(tokens, size, position_rows);
  return s.query + s.key + s.value + s.scores + s.probabilities + s.context + s.bias + s.of_queries + s.of_keys;
}

HWY_INLINE int64_t PlaceOf(const int64_t* places, int64_t token) {
  return places == nullptr ? token : places[token];
}

/// Products of the rows in `content` with those rows of a table that the distances from `nearest` to `furthest`, places
/// of keys less those of queries, have: to[row of content][row of the table].
void MultiplyRows(TileFunction tile, const uint32_t* content, const Sizes& s, const Int16Positions& positions,
                  const uint32_t* table, int64_t nearest, int64_t furthest, const float* scale, float* to) {
  const int64_t width = PanelWidth();
  const int64_t first = positions.row[furthest] / width, last = positions.row[nearest] / width;
  for (int64_t p = first; p <= last; ++p) {
    tile({.a = content,
          .a_row = s.words,
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
HWY_INLINE Keys KeysOf(const Int16Head& head, int64_t query) {
  if (head.before == Int16Head::everywhere && head.after == Int16Head::everywhere) return {0, head.tokens};
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
const T* OfQuery(const T* by_place, const Int16Head& head, int64_t query, T* memory) {
  if (by_place == nullptr) return nullptr;
  if (head.key_place == nullptr) return by_place - query;
  const T* from = by_place - head.query_place[query];
  for (int64_t j = 0; j < head.tokens; ++j) memory[j] = from[head.key_place[j]];
  return memory;
}

void AttendHead(const Int16Head& head, uint32_t* scratch) {
  const Sizes s(head.tokens, head.size, head.positions != nullptr ? head.positions->rows : 0);
  const int64_t width = PanelWidth();
  uint32_t* query = scratch;
  uint32_t* key = query + s.query;
  uint32_t* value = key + s.key;
  auto* scores = reinterpret_cast<float*>(value + s.value);
  uint32_t* probabilities = value + s.value + s.scores;
  auto* context = reinterpret_cast<float*>(probabilities + s.probabilities);
  float* placed_bias = context + s.context;
  auto* placed_rows = reinterpret_cast<int32_t*>(placed_bias);
  float* of_queries = placed_bias + s.bias;
  float* of_keys = of_queries + s.of_queries;

  const float limit = LargestOfScores(head.size);
  const auto q = ScaleOf(Largest(head.query, head.queries, head.size, head.ld), limit);
  const auto k = ScaleOf(Largest(head.key, head.tokens, head.size, head.ld), limit);
  const ContextBits bits(std::min(head.tokens, head.before + head.after + 1));
  const auto v = ScaleOf(Largest(head.value, head.tokens, head.size, head.ld), bits.most_value);
  PackKeys(head.key, head.tokens, head.size, head.ld, k.inverse, query, key);
  PackValues(head, v.inverse, s.token_words, value);
  const float unit = head.scale * 1.44269504088896341f;
  constexpr float lowest = std::numeric_limits<float>::lowest();
  float score_scale[Int16::kRows], value_scale[Int16::kRows], position_scale[Int16::kRows];
  std::fill_n(score_scale, Int16::kRows, q.step * k.step * unit);

  const auto* positions = head.positions;
  const bool keys_ask = positions != nullptr && positions->query != nullptr;
  const bool queries_ask = positions != nullptr && positions->key != nullptr;
  const auto query_place = [&](int64_t i) { return PlaceOf(head.query_place, i); };
  const auto key_place = [&](int64_t j) { return PlaceOf(head.key_place, j); };
  const auto round_rows = [&](const float* from, int64_t first, int64_t rows, float inverse) HWY_ATTR {
    for (int64_t r = 0; r < rows; ++r) {
      RoundRow(from + (first + r) * head.ld, head.size, inverse, reinterpret_cast<int16_t*>(query + r * s.words));
    }
  };
  if (keys_ask) {
    std::fill_n(position_scale, Int16::kRows, k.step * positions->query_step * unit);
    EachTile<Int16>(head.tokens, [&](TileFunction tile, int64_t first, int64_t rows) HWY_ATTR {
      round_rows(head.key, first, rows, k.inverse);
      MultiplyRows(tile, query, s, *positions, positions->query, key_place(first) - query_place(head.queries - 1),
                   key_place(first + rows - 1) - query_place(0), position_scale, of_keys + first * s.position_rows);
    });
  }
  if (queries_ask) std::fill_n(position_scale, Int16::kRows, q.step * positions->key_step * unit);

  EachTile<Int16>(head.queries, [&](TileFunction tile, int64_t first, int64_t rows) HWY_ATTR {
    round_rows(head.query, first, rows, q.inverse);
    // The keys of all these queries, from the panel of the first of them on.
    const int64_t begin = KeysOf(head, first).first / width * width, end = KeysOf(head, first + rows - 1).last;
    const int64_t padded = (end - begin + width - 1) / width * width;
    for (int64_t j = begin; j < end; j += width) {
      tile({.a = query,
            .a_row = s.words,
            .b = key + j * s.words,
            .words = s.words,
            .row_scale = score_scale,
            .c = scores + j,
            .ld = s.padded});
    }
    if (queries_ask) {
      MultiplyRows(tile, query, s, *positions, positions->key, key_place(0) - query_place(first + rows - 1),
                   key_place(head.tokens - 1) - query_place(first), position_scale, of_queries);
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (queries_ask || keys_ask) {
        AddPositions(OfQuery(positions->row, head, first + r, placed_rows), head.tokens,
                     queries_ask ? of_queries + r * s.position_rows : nullptr, keys_ask ? of_keys : nullptr,
                     s.position_rows, scores + r * s.padded);
      }
      const auto own = KeysOf(head, first + r);
      float* row = scores + r * s.padded;
      for (auto j = begin; j < own.first; ++j) row[j] = lowest;
      for (auto j = own.last; j < end; ++j) row[j] = lowest;
      const float* bias = OfQuery(head.bias, head, first + r, placed_bias);
      const float sum = Softmax(row + begin, end - begin, padded, bias == nullptr ? nullptr : bias + begin, bits.total,
                                reinterpret_cast<int16_t*>(probabilities + (r * s.padded + begin) / 2));
      value_scale[r] = own.first < own.last ? v.step / sum : 0.0f;
    }
    for (int64_t c = 0; c < head.size; c += width) {
      const bool fits = c + width <= head.size;
      float* to = head.context + first * head.ld_context + c;
      tile({.a = probabilities + begin / 2,
            .a_row = s.padded / 2,
            .b = value + c * s.token_words + begin / 2 * width,
            .words = (end + 1) / 2 - begin / 2,
            .row_scale = value_scale,
            .c = fits ? to : context,
            .ld = fits ? head.ld_context : width});
      if (fits) continue;
      for (int64_t r = 0; r < rows; ++r) {
        std::copy_n(context + r * width, head.size - c, to + r * head.ld_context);
      }
    }
  });
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

int64_t int16_rows_words(int64_t rows, int64_t size) {
  return HWY_DYNAMIC_DISPATCH(RowsWords)(rows, size);
}

float pack_int16_rows(const float* from, int64_t rows, int64_t size, int64_t ld, uint32_t* to) {
  return HWY_DYNAMIC_DISPATCH(PackRows)(from, rows, size, ld, to);
}

int64_t int16_attention_scratch(int64_t tokens, int64_t size, int64_t position_rows) {
  return HWY_DYNAMIC_DISPATCH(ScratchWords)(tokens, size, position_rows);
}

void int16_attention(const Int16Head& head, uint32_t* scratch) {
  if (head.queries > 0) HWY_DYNAMIC_DISPATCH(AttendHead)(head, scratch);
}

void rotate_rows(float* x, int64_t rows, int64_t size, const float* turn) {
  HWY_DYNAMIC_DISPATCH(RotateRows)(x, rows, size, turn);
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
