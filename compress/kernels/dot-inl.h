// Products of matrices whose elements come in words of four bytes: four int8, two int16, two bfloat16 or one float. One
// tile kernel serves them all. Included once for each target: no #pragma once.

#if defined(COMPRESS_KERNELS_DOT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef COMPRESS_KERNELS_DOT_INL_H
#undef COMPRESS_KERNELS_DOT_INL_H
#else
#define COMPRESS_KERNELS_DOT_INL_H
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "compress/kernels/math-inl.h"

#ifndef COMPRESS_KERNELS_DOT_SHARED
#define COMPRESS_KERNELS_DOT_SHARED
namespace compression::kernels {

/// c[m][n] = row_scale[m] column_scale[n] (start[n] + sum_k a(m, k) b(k, n)) + bias[n], for some rows and one panel.
struct DotTile {
  const uint32_t* a;  // word k of row m at a[m * a_row + k], Strided: at a[m * a_row + k * a_word]
  int64_t a_row, a_word = 1;
  const uint32_t* b;  // word k of the panel's columns at b + k * panel width / kNarrow, Strided: at b + k * b_word
  int64_t b_word = 0;
  int64_t words;
  const int32_t* start = nullptr;       // null: 0
  const float* row_scale = nullptr;     // null: 1
  const float* column_scale = nullptr;  // null: 1
  const float* bias = nullptr;          // null: 0
  float* c;
  int64_t ld;
  bool accumulate = false;  // Strided: to c is added; in the place of bias, or, of floats, of start
};

}  // namespace compression::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

using VI32 = hn::Vec<I32>;

#undef KERNELS_X86
#define KERNELS_X86 (HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR)
#undef KERNELS_AVX3
#define KERNELS_AVX3 (KERNELS_X86 && HWY_TARGET <= HWY_AVX3)
#undef KERNELS_ARM
#define KERNELS_ARM (HWY_ARCH_ARM_A64 && HWY_TARGET == HWY_NEON)
#undef KERNELS_ROOMY
#define KERNELS_ROOMY (KERNELS_AVX3 || KERNELS_ARM)  // 32 registers
#undef KERNELS_VNNI
#define KERNELS_VNNI (KERNELS_X86 && HWY_TARGET <= HWY_AVX3_DL)

/// Columns of a panel: two vectors.
HWY_INLINE int64_t PanelWidth() {
  return 2 * Lanes();
}

HWY_INLINE VI32 LoadWords(const uint32_t* from) {
  return hn::LoadU(I32(), reinterpret_cast<const int32_t*>(from));
}
HWY_INLINE VI32 BroadcastWord(const uint32_t* from) {
  return hn::Set(I32(), static_cast<int32_t>(*from));
}

// Instructions of VNNI, AVX-512 BF16 and ARM's later extensions are written as text, since Highway's targets do not
// name them to the compiler.

/// sum[i] + the products of the int16 in the words a[i] and b[i]: exact.
HWY_INLINE VI32 MultiplyAddInt16(VI32 a, VI32 b, VI32 sum) {
#if KERNELS_VNNI
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#elif KERNELS_X86
  const hn::Repartition<int16_t, I32> d16;
  VI32 unused = hn::Zero(I32());
  return hn::ReorderWidenMulAccumulate(I32(), hn::BitCast(d16, a), hn::BitCast(d16, b), sum, unused);  // pmaddwd
#elif KERNELS_ARM
  const auto x = vreinterpretq_s16_s32(a.raw), y = vreinterpretq_s16_s32(b.raw);
  const auto low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
  return hn::Add(sum, VI32(vpaddq_s32(low, high)));
#else
  const auto low = [](VI32 v) HWY_ATTR { return hn::ShiftRight<16>(hn::ShiftLeft<16>(v)); };
  const auto even = hn::Mul(low(a), low(b));
  return hn::Add(sum, hn::Add(even, hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b))));
#endif
}

// Each kind: kRows, as many as the registers hold next to two vectors of columns; kNarrow, how many times smaller a
// word of `b` is stored; Sum; how a word of `a` is spread, a vector of `b` is read, and their products are added.

/// Words as they are: the kinds that the processor multiplies itself.
template <class Result>
struct Words {
  static constexpr bool kStrided = false;
  static constexpr bool kSigned = false;
  static constexpr int64_t kNarrow = 1;
  using Sum = Result;
  using A = VI32;
  using B = VI32;
  static HWY_INLINE A Spread(const uint32_t* a) { return BroadcastWord(a); }
  static HWY_INLINE B Read(const uint32_t* b) { return LoadWords(b); }
};

#if KERNELS_VNNI
/// a: uint8, b: int8.
struct Int8 : Words<VI32> {
  static constexpr int kRows = 12;
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
    return sum;
  }
};
#endif

#if KERNELS_X86 && HWY_TARGET == HWY_AVX2
/// a: uint8, b: int8, with the 256-bit form of VNNI (AVX-VNNI), for processors that have_avx_vnni().
struct Int8Avx : Words<VI32> {
  static constexpr int kRows = 6;
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(a.raw), "x"(b.raw));
    return sum;
  }
};
#endif

#if KERNELS_ARM
/// a: uint8 made int8 as it is read, b: int8, with the dot product of ARM v8.2, for processors that have_dot_product().
/// Sums are without the 128 of each activation.
struct Int8Dot : Words<VI32> {
  static constexpr int kRows = 12;
  static constexpr bool kSigned = true;
  static HWY_INLINE A Spread(const uint32_t* a) {
    return hn::Xor(BroadcastWord(a), hn::Set(I32(), static_cast<int32_t>(0x80808080)));
  }
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) {
    asm(".arch armv8.2-a+crypto+dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sum.raw) : "w"(a.raw), "w"(b.raw));
    return sum;
  }
};

/// a: uint8, b: int8, with the products of both kinds (i8mm) of ARM v8.6, for processors that have_mixed_products().
struct Int8Mixed : Words<VI32> {
  static constexpr int kRows = 12;
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) {
    asm(".arch armv8.6-a+crypto+i8mm\n\tusdot %0.4s, %1.16b, %2.16b" : "+w"(sum.raw) : "w"(a.raw), "w"(b.raw));
    return sum;
  }
};
#endif

struct Int16 : Words<VI32> {
  static constexpr int kRows = KERNELS_ROOMY ? 12 : 6;
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) { return MultiplyAddInt16(a, b, sum); }
};

/// a: int16, b: int8, widened as it is read: for processors whose products of bytes are added in 16 bits and saturate.
struct Int8InPairs : Words<VI32> {
  static constexpr int kRows = Int16::kRows;
  static constexpr int64_t kNarrow = 2;
  static HWY_INLINE B Read(const uint32_t* b) {
    const hn::Repartition<int16_t, I32> d16;
    const hn::Rebind<int8_t, decltype(d16)> d8;
    return hn::BitCast(I32(), hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const int8_t*>(b))));
  }
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) { return MultiplyAddInt16(a, b, sum); }
};

/// A vector of floats, from a row of numbers of fewer bits too.
HWY_INLINE VF LoadFloats(const float* from) {
  return hn::LoadU(F(), from);
}
HWY_INLINE VF LoadFloats(const int8_t* from) {
  const hn::Rebind<int8_t, F> quarter;
  return hn::ConvertTo(F(), hn::PromoteTo(I32(), hn::LoadU(quarter, from)));
}
HWY_INLINE VF LoadFloats(const hwy::bfloat16_t* from) {
  const hn::Rebind<hwy::bfloat16_t, F> half;
  return hn::PromoteTo(F(), hn::LoadU(half, from));
}
HWY_INLINE VF LoadFloats(const hwy::float16_t* from) {
#if (KERNELS_X86 && HWY_TARGET <= HWY_AVX2) || KERNELS_ARM
  const hn::Rebind<hwy::float16_t, F> half;
  return hn::PromoteTo(F(), hn::LoadU(half, from));
#else  // Highway's own makes a number of an infinity
  const U32 d;
  const hn::Rebind<uint16_t, F> half;
  const auto bits = hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const uint16_t*>(from)));
  const auto magnitude = hn::And(bits, hn::Set(d, 0x7FFF));
  const auto rebased = hn::Add(hn::ShiftLeft<13>(magnitude), hn::Set(d, 112u << 23));
  const auto infinite = hn::Or(hn::ShiftLeft<13>(magnitude), hn::Set(d, 0x7F800000));
  const auto small = hn::Mul(hn::ConvertTo(F(), hn::BitCast(I32(), magnitude)), hn::Set(F(), 0x1p-24f));
  auto wide = hn::IfThenElse(hn::Gt(magnitude, hn::Set(d, 0x7BFF)), infinite, rebased);
  wide = hn::IfThenElse(hn::Gt(hn::Set(d, 0x400), magnitude), hn::BitCast(d, small), wide);
  return hn::BitCast(F(), hn::Or(wide, hn::ShiftLeft<16>(hn::Xor(bits, magnitude))));
#endif
}

struct Float32 {
  static constexpr bool kStrided = false;
  static constexpr int64_t kNarrow = 1;
  using Sum = VF;
  using A = VF;
  using B = VF;
  static constexpr int kRows = KERNELS_ROOMY ? 12 : 6;
  static HWY_INLINE A Spread(const uint32_t* a) { return hn::BitCast(F(), BroadcastWord(a)); }
  static HWY_INLINE B Read(const uint32_t* b) { return hn::BitCast(F(), LoadWords(b)); }
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) { return hn::MulAdd(a, b, sum); }
};

/// a: float32, b: floats of 16 bits, widened as they are read: the sums of Float32.
template <class T>
struct NarrowFloat : Float32 {
  static constexpr int64_t kNarrow = 2;
  static HWY_INLINE B Read(const uint32_t* b) { return LoadFloats(reinterpret_cast<const T*>(b)); }
};

/// Widened to float, as bfloat16 arithmetic is not in every target.
struct WideBFloat16 {
  static constexpr bool kStrided = false;
  static constexpr int64_t kNarrow = 1;
  using Sum = VF;
  struct Pairs {
    VF even, odd;
  };
  using A = Pairs;
  using B = Pairs;
  static constexpr int kRows = KERNELS_ROOMY ? 10 : 4;
  static HWY_INLINE Pairs Widen(VI32 v) {
    return {hn::BitCast(F(), hn::ShiftLeft<16>(v)),
            hn::BitCast(F(), hn::And(v, hn::Set(I32(), static_cast<int32_t>(0xFFFF0000))))};
  }
  static HWY_INLINE A Spread(const uint32_t* a) { return Widen(BroadcastWord(a)); }
  static HWY_INLINE B Read(const uint32_t* b) { return Widen(LoadWords(b)); }
  static HWY_INLINE Sum MultiplyAdd(const A& a, const B& b, Sum sum) {
    return hn::MulAdd(a.odd, b.odd, hn::MulAdd(a.even, b.even, sum));
  }
};

/// Of operands that lie in other ways, and of sums in several parts.
template <class Dot>
struct Strided : Dot {
  static constexpr bool kStrided = true;
};

HWY_INLINE VI32 Start(VI32, const int32_t* start) {
  return start == nullptr ? hn::Zero(I32()) : hn::LoadU(I32(), start);
}
HWY_INLINE VF Start(VF, const int32_t*) {
  return hn::Zero(F());
}
HWY_INLINE VF ToFloat(VI32 v) {
  return hn::ConvertTo(F(), v);
}
HWY_INLINE VF ToFloat(VF v) {
  return v;
}

#undef KERNELS_PIN
// Keeps the order of instructions as written: left alone, GCC loads all rows first and spills the sums.
#if KERNELS_X86 && HWY_COMPILER_GCC_ACTUAL
#define KERNELS_PIN(v) asm volatile("" : "+v"((v).raw))
#else
#define KERNELS_PIN(v)
#endif

#undef KERNELS_ROWS
#define KERNELS_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#undef KERNELS_DECLARE
#define KERNELS_DECLARE(r)                                      \
  [[maybe_unused]] auto left##r = R > r ? begin(r, 0) : start0; \
  [[maybe_unused]] auto right##r = R > r ? begin(r, n) : start1;

#undef KERNELS_STEP
#define KERNELS_STEP(r)                            \
  if constexpr (R > r) {                           \
    const auto x = Dot::Spread(a + (r) * t.a_row); \
    left##r = Dot::MultiplyAdd(x, b0, left##r);    \
    KERNELS_PIN(left##r);                          \
    right##r = Dot::MultiplyAdd(x, b1, right##r);  \
    KERNELS_PIN(right##r);                         \
  }

#undef KERNELS_STORE
#define KERNELS_STORE(r)                                                                       \
  if constexpr (R > r) {                                                                       \
    const auto s = hn::Set(df, t.row_scale == nullptr ? 1.0f : t.row_scale[r]);                \
    float* to = t.c + (r) * t.ld;                                                              \
    const auto old0 = adds ? hn::LoadU(df, to) : t0, old1 = adds ? hn::LoadU(df, to + n) : t1; \
    hn::StoreU(hn::MulAdd(ToFloat(left##r), hn::Mul(s, s0), old0), df, to);                    \
    hn::StoreU(hn::MulAdd(ToFloat(right##r), hn::Mul(s, s1), old1), df, to + n);               \
  }

template <class Dot, int R>
HWY_NOINLINE void RunTile(const DotTile& t) {
  using Sum = typename Dot::Sum;
  constexpr bool floats = std::is_same_v<Sum, VF>;
  const F df;
  const int64_t n = Lanes();
  const int64_t a_word = Dot::kStrided ? t.a_word : 1, b_word = Dot::kStrided ? t.b_word : 2 * n / Dot::kNarrow;
  const bool continues = Dot::kStrided && floats && t.accumulate, adds = Dot::kStrided && !floats && t.accumulate;
  const uint32_t* HWY_RESTRICT a = t.a;
  const uint32_t* HWY_RESTRICT b = t.b;
  const auto start0 = Start(Sum(), t.start), start1 = Start(Sum(), t.start == nullptr ? nullptr : t.start + n);
  const auto begin = [&](int64_t r, int64_t column) HWY_ATTR {
    if constexpr (floats) {
      if (continues) return hn::LoadU(df, t.c + r * t.ld + column);
    }
    return column == 0 ? start0 : start1;
  };
  KERNELS_ROWS(KERNELS_DECLARE)
  for (int64_t k = 0; k < t.words; ++k) {
    const auto b0 = Dot::Read(b), b1 = Dot::Read(b + n / Dot::kNarrow);
    b += b_word;
    KERNELS_ROWS(KERNELS_STEP)
    a += a_word;
  }
  const auto one = hn::Set(df, 1.0f);
  const auto s0 = t.column_scale == nullptr ? one : hn::LoadU(df, t.column_scale);
  const auto s1 = t.column_scale == nullptr ? one : hn::LoadU(df, t.column_scale + n);
  const auto t0 = t.bias == nullptr ? hn::Zero(df) : hn::LoadU(df, t.bias);
  const auto t1 = t.bias == nullptr ? hn::Zero(df) : hn::LoadU(df, t.bias + n);
  KERNELS_ROWS(KERNELS_STORE)
}

using TileFunction = void (*)(const DotTile&);

/// The kernel for `rows`, at most Dot::kRows.
template <class Dot, int R = Dot::kRows>
TileFunction TileOf(int64_t rows) {
  if constexpr (R == 1) {
    return &RunTile<Dot, 1>;
  } else {
    return rows == R ? &RunTile<Dot, R> : TileOf<Dot, R - 1>(rows);
  }
}

/// Calls tile(function, first row, rows) for rows in tiles of about the same height.
template <class Dot, class Visit>
HWY_INLINE void EachTile(int64_t rows, Visit&& visit) {
  const int64_t tiles = (rows + Dot::kRows - 1) / Dot::kRows;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = i * rows / tiles, count = (i + 1) * rows / tiles - first;
    visit(TileOf<Dot>(count), first, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#endif
