// bfloat16 in vectors: rounding, and the processor's own products where it has them. Included once for each target: no
// #pragma once.

#if defined(COMPRESS_KERNELS_BFLOAT16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef COMPRESS_KERNELS_BFLOAT16_INL_H
#undef COMPRESS_KERNELS_BFLOAT16_INL_H
#else
#define COMPRESS_KERNELS_BFLOAT16_INL_H
#endif

#include <hwy/highway.h>

#include "compress/kernels/dot-inl.h"

#ifndef COMPRESS_KERNELS_BFLOAT16_SHARED
#define COMPRESS_KERNELS_BFLOAT16_SHARED
namespace compression::kernels {

/// Whether the processor multiplies bfloat16 (AVX-512 BF16).
inline bool has_bfloat16() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx512bf16");
  return has;
#else
  return false;
#endif
}

}  // namespace compression::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

/// The upper half of each, rounded to nearest even; NaN stays NaN.
HWY_INLINE hn::Vec<U32> RoundedBits(VF x) {
  const U32 d;
  const auto bits = hn::BitCast(d, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7FFF))));
  return hn::IfThenElse(hn::RebindMask(d, hn::IsNaN(x)), hn::Set(d, 0x7FC0), rounded);
}

#if KERNELS_VNNI
HWY_INLINE bool HasBFloat16() {
  return has_bfloat16();
}

struct BFloat16 : Words<VF> {
  static constexpr int kRows = 12;
  static HWY_INLINE Sum MultiplyAdd(A a, B b, Sum sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
    return sum;
  }
};
#endif

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#endif
