// What this target multiplies bytes with. Included once for each target: no #pragma once.

#if defined(COMPRESS_KERNELS_MULTIPLIER_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef COMPRESS_KERNELS_MULTIPLIER_INL_H
#undef COMPRESS_KERNELS_MULTIPLIER_INL_H
#else
#define COMPRESS_KERNELS_MULTIPLIER_INL_H
#endif

#include "compress/kernels/dot-inl.h"
#include "compress/kernels/multiplier.h"

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

/// Whether vectors of bytes are multiplied, four to a word; else they are widened to 16 bits.
HWY_INLINE bool MultipliesByteVectors() {
#if KERNELS_X86 && HWY_TARGET == HWY_AVX2
  return use_avx_vnni();
#elif KERNELS_ARM
  return use_dot_product() || use_mixed_products();
#else
  return KERNELS_VNNI;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#endif
