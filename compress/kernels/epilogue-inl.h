// What becomes of the tile of a product. Included once for each target: no #pragma once.

#if defined(COMPRESS_KERNELS_EPILOGUE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef COMPRESS_KERNELS_EPILOGUE_INL_H
#undef COMPRESS_KERNELS_EPILOGUE_INL_H
#else
#define COMPRESS_KERNELS_EPILOGUE_INL_H
#endif

#include "compress/kernels/dot-inl.h"
#include "compress/kernels/linear.h"  // Epilogue

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

/// x Phi(x) by a polynomial: Phi(x) - 1/2 is x times one in x^2, of degree 8, fitted for least error of GELU where
/// |x| < 4.325 and constant beyond.
HWY_INLINE VF FastGelu(VF x) {
  const F d;
  const auto c = hn::Max(hn::Set(d, -4.325f), hn::Min(x, hn::Set(d, 4.325f)));
  const auto s = hn::Mul(c, c);
  auto p = hn::Set(d, 4.031996958531181e-11f);
  p = hn::MulAdd(p, s, hn::Set(d, -4.120771279758628e-09f));
  p = hn::MulAdd(p, s, hn::Set(d, 1.861127998381562e-07f));
  p = hn::MulAdd(p, s, hn::Set(d, -4.935721335641574e-06f));
  p = hn::MulAdd(p, s, hn::Set(d, 8.642228931421414e-05f));
  p = hn::MulAdd(p, s, hn::Set(d, -0.0010674194199964404f));
  p = hn::MulAdd(p, s, hn::Set(d, 0.009682753123342991f));
  p = hn::MulAdd(p, s, hn::Set(d, -0.06613709032535553f));
  p = hn::MulAdd(p, s, hn::Set(d, 0.3987927734851837f));
  return hn::Mul(x, hn::MulAdd(c, p, hn::Set(d, 0.5f)));
}

template <class Change>
HWY_INLINE void EachInTile(int64_t rows, float* y, int64_t ld, Change&& change) {
  const F d;
  const int64_t n = Lanes();
  for (int64_t r = 0; r < rows; ++r) {
    float* row = y + r * ld;
    hn::StoreU(change(hn::LoadU(d, row)), d, row);
    hn::StoreU(change(hn::LoadU(d, row + n)), d, row + n);
  }
}

template <class Dot>
void Apply(const Epilogue& epilogue, int64_t rows, float* y, int64_t ld) {
  if (epilogue.function != Activation::none) {
    WithActivation(epilogue.function, [&](auto kind) HWY_ATTR {
      constexpr Activation activation = kind();
      EachInTile(rows, y, ld, [](VF x) HWY_ATTR {
        if constexpr (activation == Activation::gelu && !std::is_base_of_v<Float32, Dot>) return FastGelu(x);
        return Activate<activation>(x);
      });
    });
  }
  if (epilogue.factor == nullptr) return;
  const F d;
  const int64_t n = Lanes();
  for (int64_t r = 0; r < rows; ++r) {
    float* row = y + r * ld;
    const float* by = epilogue.factor + r * ld;
    hn::StoreU(hn::Mul(hn::LoadU(d, row), hn::LoadU(d, by)), d, row);
    hn::StoreU(hn::Mul(hn::LoadU(d, row + n), hn::LoadU(d, by + n)), d, row + n);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#endif
