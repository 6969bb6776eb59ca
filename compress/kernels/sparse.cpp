#include "compress/kernels/sparse.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/sparse.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/dot-inl.h"
#include "compress/kernels/epilogue-inl.h"
#include "compress/kernels/multiplier-inl.h"

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

/// Vectors of rows of activations that are multiplied by one word of the weight.
constexpr int kVectors = 4;

/// Whether bytes are multiplied here, beside AMX; else they are widened to 16 bits.
bool SparseBytes() {
  return MultipliesByteVectors();
}

/// to[c * to_ld + r] = change(from[r * ld + c]) for 4 rows and 4 columns.
template <class Change>
HWY_INLINE void TransposeFour(const uint32_t* from, int64_t ld, uint32_t* to, int64_t to_ld, Change&& change) {
  const hn::FixedTag<uint32_t, 4> d;
  const hn::FixedTag<uint64_t, 2> pairs;
  const auto v0 = hn::LoadU(d, from), v1 = hn::LoadU(d, from + ld);
  const auto v2 = hn::LoadU(d, from + 2 * ld), v3 = hn::LoadU(d, from + 3 * ld);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, v0, v1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, v2, v3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v0, v1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v2, v3));
  change(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), to);
  change(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), to + to_ld);
  change(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), to + 2 * to_ld);
  change(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), to + 3 * to_ld);
}

/// Words of rows of activations as the kernel reads them, [word][row]: `block` rows, of which those from `count` on are
/// never looked at. In 16 bits a word of bytes becomes those of its first two and of its last two.
template <class Dot>
void SpreadRows(const LinearInput& x, int64_t first, int64_t count, int64_t words, int64_t block, uint32_t* to) {
  constexpr bool halves = Dot::kNarrow == 2;
  constexpr uint32_t flip = Dot::kSigned ? 0x80808080u : 0u;
  constexpr uint32_t low = 0xFFu, high = 0xFF0000u;  // of a word of two
  const hn::FixedTag<uint32_t, 4> d;
  const auto step = halves ? 2 * block : block;
  const auto store = [&](auto v, uint32_t* place) HWY_ATTR {
    if constexpr (halves) {
      const auto pair = [&](auto left, auto right) HWY_ATTR {
        return hn::Or(hn::And(left, hn::Set(d, low)), hn::And(right, hn::Set(d, high)));
      };
      hn::StoreU(pair(v, hn::ShiftLeft<8>(v)), d, place);
      hn::StoreU(pair(hn::ShiftRight<16>(v), hn::ShiftRight<8>(v)), d, place + block);
    } else {
      hn::StoreU(hn::Xor(v, hn::Set(d, flip)), d, place);
    }
  };
  const auto one = [&](uint32_t word, uint32_t* place) {
    if constexpr (halves) {
      *place = (word & low) | (word << 8 & high);
      place[block] = (word >> 16 & low) | (word >> 8 & high);
    } else {
      *place = word ^ flip;
    }
  };
  const auto whole_words = words / 4 * 4, whole_rows = count / 4 * 4;
  for (int64_t r = 0; r < whole_rows; r += 4) {
    const auto* row = x.values + (first + r) * x.stride;
    for (int64_t k = 0; k < whole_words; k += 4) TransposeFour(row + k, x.stride, to + k * step + r, step, store);
  }
  for (int64_t r = 0; r < count; ++r) {
    const auto* row = x.values + (first + r) * x.stride;
    for (int64_t k = r < whole_rows ? whole_words : 0; k < words; ++k) one(row[k], to + k * step + r);
  }
}

/// Adds to the sums of one output what its words in a block make, for V vectors of rows. Sums are integers' bits.
template <class Dot, int V>
HWY_INLINE void AddWords(const uint32_t* HWY_RESTRICT x, const uint8_t* HWY_RESTRICT place,
                         const uint32_t* HWY_RESTRICT values, int64_t count, float* HWY_RESTRICT sums) {
  const int64_t n = Lanes();
  const auto load = [&](int64_t v) HWY_ATTR { return hn::BitCast(I32(), hn::Load(F(), sums + v * n)); };
  const auto store = [&](VI32 sum, int64_t v) HWY_ATTR { hn::Store(hn::BitCast(F(), sum), F(), sums + v * n); };
  // The words of a pair are added apart, since an addition waits for the one before it.
  auto s0 = load(0), t0 = hn::Zero(I32());
  [[maybe_unused]] auto s1 = V > 1 ? load(1) : t0, s2 = V > 2 ? load(2) : t0, s3 = V > 3 ? load(3) : t0;
  [[maybe_unused]] auto t1 = t0, t2 = t0, t3 = t0;
  for (int64_t i = 0; i < count; i += 2) {
    const auto first = BroadcastWord(values + i), second = BroadcastWord(values + i + 1);
    const uint32_t *a = x + place[i] * (V * n), *b = x + place[i + 1] * (V * n);
    s0 = Dot::MultiplyAdd(LoadWords(a), first, s0);
    t0 = Dot::MultiplyAdd(LoadWords(b), second, t0);
    if constexpr (V > 1) {
      s1 = Dot::MultiplyAdd(LoadWords(a + n), first, s1);
      t1 = Dot::MultiplyAdd(LoadWords(b + n), second, t1);
    }
    if constexpr (V > 2) {
      s2 = Dot::MultiplyAdd(LoadWords(a + 2 * n), first, s2);
      t2 = Dot::MultiplyAdd(LoadWords(b + 2 * n), second, t2);
    }
    if constexpr (V > 3) {
      s3 = Dot::MultiplyAdd(LoadWords(a + 3 * n), first, s3);
      t3 = Dot::MultiplyAdd(LoadWords(b + 3 * n), second, t3);
    }
  }
  store(hn::Add(s0, t0), 0);
  if constexpr (V > 1) store(hn::Add(s1, t1), 1);
  if constexpr (V > 2) store(hn::Add(s2, t2), 2);
  if constexpr (V > 3) store(hn::Add(s3, t3), 3);
}

/// The sums of a panel's `columns` outputs for V vectors of rows, scaled: [column][row].
template <class Dot, int V>
void SumPanel(const uint32_t* spread, const LinearWeight& w, int64_t panel, int64_t columns, const float* row_scale,
              float* sums) {
  const F d;
  const int64_t n = Lanes(), rows = V * n, width = PanelWidth(), first = panel * width;
  const auto& words = w.sparse;
  for (int64_t o = 0; o < columns; ++o) {
    const auto start = hn::BitCast(d, hn::Set(I32(), Dot::kSigned ? 0 : w.start.data()[first + o]));
    for (int64_t v = 0; v < V; ++v) hn::Store(start, d, sums + o * rows + v * n);
  }
  const auto blocks = words.blocks();
  const auto* output = words.output.data() + panel * blocks * width;
  const auto* pairs = words.pairs.data() + panel * blocks * width;
  const auto* place = words.place.data() + words.begin.data()[panel];
  const auto* values = words.values.data() + words.begin.data()[panel];
  for (int64_t b = 0; b < blocks; ++b, output += width, pairs += width) {
    const auto* x = spread + b * words.block * rows;
    for (int64_t i = 0; i < width && pairs[i] > 0; ++i) {
      const int64_t count = 2 * static_cast<int64_t>(pairs[i]);
      AddWords<Dot, V>(x, place, values, count, sums + output[i] * rows);
      place += count;
      values += count;
    }
  }
  for (int64_t o = 0; o < columns; ++o) {
    const auto by = hn::Set(d, w.scale.data()[first + o]), more = hn::Set(d, w.bias.data()[first + o]);
    for (int64_t v = 0; v < V; ++v) {
      float* at = sums + o * rows + v * n;
      const auto sum = ToFloat(hn::BitCast(I32(), hn::Load(d, at)));
      hn::Store(hn::MulAdd(sum, hn::Mul(hn::LoadU(d, row_scale + v * n), by), more), d, at);
    }
  }
}

/// Panels [from, to) for rows [first, first + count), at most V vectors of them.
template <class Dot, int V>
void MultiplyBlock(const LinearInput& x, const LinearWeight& w, int64_t first, int64_t count, Range panels,
                   const Epilogue& epilogue, float* y, int64_t ld, const uint32_t* spread) {
  const int64_t width = PanelWidth(), block = V * Lanes();
  HWY_ALIGN float row_scale[kVectors * HWY_MAX_BYTES / sizeof(float)] = {};
  HWY_ALIGN float sums[kVectors * HWY_MAX_BYTES / sizeof(float) * 2 * HWY_MAX_BYTES / sizeof(float)];
  HWY_ALIGN float whole[kVectors * HWY_MAX_BYTES / sizeof(float) * 2 * HWY_MAX_BYTES / sizeof(float)];
  const hn::FixedTag<uint32_t, 4> d4;
  const auto store = [&](auto v, uint32_t* place) HWY_ATTR { hn::StoreU(v, d4, place); };
  std::copy_n(x.scale + first, count, row_scale);
  for (int64_t p = panels.first; p < panels.last; ++p) {
    const int64_t column = p * width, columns = std::min(width, w.out - column);
    SumPanel<Dot, V>(spread, w, p, columns, row_scale, sums);
    const bool fits = columns == width;
    float* to = y + first * ld + column;
    float* c = fits ? to : whole;
    const int64_t c_ld = fits ? ld : width;
    const auto whole_rows = count / 4 * 4;
    for (int64_t r = 0; r < whole_rows; r += 4) {
      for (int64_t o = 0; o < width; o += 4) {
        TransposeFour(reinterpret_cast<const uint32_t*>(sums + o * block + r), block,
                      reinterpret_cast<uint32_t*>(c + r * c_ld + o), c_ld, store);
      }
    }
    for (int64_t r = whole_rows; r < count; ++r) {
      for (int64_t o = 0; o < columns; ++o) c[r * c_ld + o] = sums[o * block + r];
    }
    Apply<Dot>(epilogue.from(first * ld + column), count, c, c_ld);
    for (int64_t r = 0; !fits && r < count; ++r) std::copy_n(whole + r * width, columns, to + r * ld);
  }
}

template <class Dot>
void MultiplyWords(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                   float* y, int64_t ld) {
  const int64_t n = Lanes(), most = kVectors * n;
  static thread_local Buffer<uint32_t> memory;
  auto* spread = memory.resize(w.sparse.width * most);
  for (int64_t first = rows.first; first < rows.last; first += most) {
    const auto count = std::min(most, rows.last - first);
    const auto with = [&](auto vectors) HWY_ATTR {
      SpreadRows<Dot>(x, first, count, w.words, vectors() * n, spread);
      MultiplyBlock<Dot, vectors()>(x, w, first, count, panels, epilogue, y, ld, spread);
    };
    switch ((count + n - 1) / n) {
      case 1:
        with(std::integral_constant<int, 1>());
        break;
      case 2:
        with(std::integral_constant<int, 2>());
        break;
      case 3:
        with(std::integral_constant<int, 3>());
        break;
      default:
        with(std::integral_constant<int, 4>());
    }
  }
}

void MultiplySparse(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                    float* y, int64_t ld) {
#if KERNELS_VNNI
  MultiplyWords<Int8>(x, w, rows, panels, epilogue, y, ld);
#else
#if KERNELS_X86 && HWY_TARGET == HWY_AVX2
  if (use_avx_vnni()) return MultiplyWords<Int8Avx>(x, w, rows, panels, epilogue, y, ld);
#elif KERNELS_ARM
  if (use_mixed_products()) return MultiplyWords<Int8Mixed>(x, w, rows, panels, epilogue, y, ld);
  if (use_dot_product()) return MultiplyWords<Int8Dot>(x, w, rows, panels, epilogue, y, ld);
#endif
  MultiplyWords<Int8InPairs>(x, w, rows, panels, epilogue, y, ld);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace compression::kernels {

HWY_EXPORT(SparseBytes);
HWY_EXPORT(MultiplySparse);

namespace {

/// Calls visit(word's place, word) for what is not zero in a row of int8, as the kernels of this machine take words.
template <class Visit>
void each_word(const int8_t* row, int64_t in, bool bytes, Visit&& visit) {
  for (int64_t k = 0; 4 * k < in; ++k) {
    std::array<int8_t, 4> word = {};
    std::copy_n(row + 4 * k, std::min<int64_t>(4, in - 4 * k), word.begin());
    if (bytes) {
      uint32_t all = 0;
      std::memcpy(&all, word.data(), 4);
      if (all != 0) visit(k, all);
      continue;
    }
    for (size_t half = 0; half < 2; ++half) {
      const auto first = static_cast<uint16_t>(word[2 * half]), second = static_cast<uint16_t>(word[2 * half + 1]);
      const auto both = static_cast<uint32_t>(second) << 16 | first;
      if (both != 0) visit(2 * k + static_cast<int64_t>(half), both);
    }
  }
}

/// Words of a row that are not zero; the last one may be cut off.
template <class Word>
int64_t count_words(const int8_t* row, int64_t in) {
  constexpr auto bytes = static_cast<int64_t>(sizeof(Word));
  int64_t count = 0, i = 0;
  for (; i + bytes <= in; i += bytes) {
    Word word = 0;
    std::memcpy(&word, row + i, sizeof(Word));
    count += word != 0 ? 1 : 0;
  }
  return count + (std::any_of(row + i, row + in, [](int8_t value) { return value != 0; }) ? 1 : 0);
}

/// Words of a row in a block: what a byte tells apart. So many of the rows that are multiplied together are 16 to 64
/// KB.
constexpr int64_t block = 256;

/// Words of a row, as they are on this machine.
int64_t words_of(int64_t in, bool bytes) {
  return (in + 3) / 4 * (bytes ? 1 : 2);
}

}  // namespace

int64_t sparse_word() {
  return HWY_DYNAMIC_DISPATCH(SparseBytes)() ? 4 : 2;
}

double sparse_density(const int8_t* values, int64_t out, int64_t in) {
  const bool bytes = HWY_DYNAMIC_DISPATCH(SparseBytes)();
  int64_t count = 0;
  for (int64_t o = 0; o < out; ++o) {
    const auto* row = values + o * in;
    count += bytes ? count_words<uint32_t>(row, in) : count_words<uint16_t>(row, in);
  }
  const auto all = out * words_of(in, bytes);
  return all == 0 ? 1.0 : static_cast<double>(count) / static_cast<double>(all);
}

void pack_sparse(const int8_t* values, int64_t out, int64_t in, LinearWeight& weight) {
  struct Word {
    int64_t place;
    uint32_t value;
  };
  const bool bytes = HWY_DYNAMIC_DISPATCH(SparseBytes)();
  auto& sparse = weight.sparse;
  sparse = {.width = words_of(in, bytes), .block = block};
  const auto blocks = sparse.blocks(), width = panel_width(), panels = (out + width - 1) / width;
  auto* output = sparse.output.resize(panels * blocks * width);
  auto* pairs = sparse.pairs.resize(panels * blocks * width);
  auto* begin = sparse.begin.resize(panels);
  std::vector<uint8_t> places;
  std::vector<uint32_t> words;
  std::vector<std::vector<Word>> found(static_cast<size_t>(width));  // of each of a panel's outputs
  for (int64_t p = 0; p < panels; ++p) {
    begin[p] = static_cast<uint32_t>(words.size());
    for (int64_t o = 0; o < width; ++o) {
      auto& own = found[static_cast<size_t>(o)];
      own.clear();
      if (p * width + o >= out) continue;
      each_word(values + (p * width + o) * in, in, bytes,
                [&](int64_t at, uint32_t word) { own.push_back({at, word}); });
    }
    std::vector<size_t> done(static_cast<size_t>(width), 0);
    for (int64_t b = 0; b < blocks; ++b, output += width, pairs += width) {
      const auto first = b * sparse.block, last = first + sparse.block;
      std::vector<std::pair<size_t, size_t>> counts;  // words of the block, output
      for (size_t o = 0; o < found.size(); ++o) {
        const auto& own = found[o];
        const auto from = own.begin() + static_cast<int64_t>(done[o]);
        const auto to = std::ranges::lower_bound(from, own.end(), last, {}, &Word::place);
        counts.emplace_back(to - from, o);
      }
      std::ranges::stable_sort(counts, std::ranges::greater(), [](const auto& each) { return (each.first + 1) / 2; });
      for (size_t i = 0; i < counts.size(); ++i) {
        const auto [count, o] = counts[i];
        output[i] = static_cast<uint8_t>(o);
        pairs[i] = static_cast<uint8_t>((count + 1) / 2);
        for (size_t k = done[o]; k < done[o] + count; ++k) {
          places.push_back(static_cast<uint8_t>(found[o][k].place - first));
          words.push_back(found[o][k].value);
        }
        if (count % 2 != 0) {
          places.push_back(places.back());
          words.push_back(0);
        }
        done[o] += count;
      }
    }
  }
  std::ranges::copy(places, sparse.place.resize(static_cast<int64_t>(places.size())));
  std::ranges::copy(words, sparse.values.resize(static_cast<int64_t>(words.size())));
}

void multiply_sparse(const LinearInput& x, const LinearWeight& weight, Range rows, Range panels,
                     const Epilogue& epilogue, float* y, int64_t ld) {
  HWY_DYNAMIC_DISPATCH(MultiplySparse)(x, weight, rows, panels, epilogue, y, ld);
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
