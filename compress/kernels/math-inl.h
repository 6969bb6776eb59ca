// Vector functions that several kernels share. Included once for each target: no #pragma once.

#if defined(COMPRESS_KERNELS_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef COMPRESS_KERNELS_MATH_INL_H
#undef COMPRESS_KERNELS_MATH_INL_H
#else
#define COMPRESS_KERNELS_MATH_INL_H
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "compress/base/activation.h"  // Activation

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using F = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;
using U32 = hn::ScalableTag<uint32_t>;
using VF = hn::Vec<F>;

HWY_INLINE int64_t Lanes() {
  return static_cast<int64_t>(hn::Lanes(F()));
}

/// Calls vector(c) for whole vectors of columns, and tail(c) for what is left.
template <class Vector, class Tail>
HWY_INLINE void EachColumn(int64_t width, Vector&& vector, Tail&& tail) {
  const int64_t n = Lanes();
  int64_t c = 0;
  for (; c + n <= width; c += n) vector(c);
  for (; c < width; ++c) tail(c);
}

/// The larger; NaN stays NaN, of which Max() makes a number on some targets.
HWY_INLINE VF AtLeast(VF x, float least) {
  const auto low = hn::Set(F(), least);
  return hn::IfThenElse(hn::Lt(x, low), low, x);
}

/// The smaller, in the same way.
HWY_INLINE VF AtMost(VF x, float most) {
  const auto high = hn::Set(F(), most);
  return hn::IfThenElse(hn::Gt(x, high), high, x);
}

/// exp of x <= 0, relative error below 2e-7: 2^n by the exponent's bits, a polynomial of degree 6 for the rest.
HWY_INLINE VF ExpOfNegative(VF x) {
  const F d;
  const I32 di;
  x = AtLeast(x, -87.0f);
  const auto n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
  auto r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  auto p = hn::Set(d, 1.3888889e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 8.3333333e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1666668e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666667e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, power));
}

/// tanh from exp: 1 - 2 / (exp(2|x|) + 1), with its sign.
HWY_INLINE VF Tanh(VF x) {
  const F d;
  const auto e = ExpOfNegative(hn::Mul(hn::Abs(x), hn::Set(d, -2.0f)));
  const auto one = hn::Set(d, 1.0f);
  return hn::CopySignToAbs(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
}

HWY_INLINE VF Sigmoid(VF x) {
  const auto half = hn::Set(F(), 0.5f);
  return hn::MulAdd(Tanh(hn::Mul(x, half)), half, half);
}

/// GELU with tanh in place of the normal distribution.
HWY_INLINE VF GeluTanh(VF x) {
  const F d;
  const auto one = hn::Set(d, 1.0f);
  const auto inner =
      hn::Mul(hn::Mul(x, hn::Set(d, 0.79788456080286536f)), hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.044715f), one));
  return hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(Tanh(inner), one));
}

/// Phi(x), the normal distribution, by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7); and exp(-x^2 / 2).
HWY_INLINE VF NormalDistribution(VF x, VF& bell) {
  const F d;
  const auto magnitude = hn::Abs(x);
  const auto z = hn::Mul(magnitude, hn::Set(d, 0.70710678118654752f));
  bell = ExpOfNegative(hn::Neg(hn::Mul(z, z)));
  const auto t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(hn::Set(d, 0.3275911f), z, hn::Set(d, 1.0f)));
  auto p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  const auto tail = hn::Mul(hn::Mul(hn::Set(d, 0.5f), hn::Mul(p, t)), bell);  // Phi(-|x|)
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail));
}

template <Activation kind>
HWY_INLINE VF Activate(VF x) {
  if constexpr (kind == Activation::none) {
    return x;
  } else if constexpr (kind == Activation::relu) {
    return AtLeast(x, 0.0f);
  } else if constexpr (kind == Activation::gelu_tanh) {
    return GeluTanh(x);
  } else if constexpr (kind == Activation::tanh) {
    return Tanh(x);
  } else if constexpr (kind == Activation::silu) {
    return hn::Mul(x, Sigmoid(x));
  } else if constexpr (kind == Activation::sigmoid) {
    return Sigmoid(x);
  } else {
    static_assert(kind == Activation::gelu);
    VF bell;
    return hn::Mul(x, NormalDistribution(x, bell));
  }
}

/// Calls work(std::integral_constant of the activation).
template <class Work>
void WithActivation(Activation activation, const Work& work) {
  using enum Activation;
  switch (activation) {
    case none:
      return work(std::integral_constant<Activation, none>());
    case gelu:
      return work(std::integral_constant<Activation, gelu>());
    case gelu_tanh:
      return work(std::integral_constant<Activation, gelu_tanh>());
    case relu:
      return work(std::integral_constant<Activation, relu>());
    case tanh:
      return work(std::integral_constant<Activation, tanh>());
    case silu:
      return work(std::integral_constant<Activation, silu>());
    case sigmoid:
      return work(std::integral_constant<Activation, sigmoid>());
  }
}

/// A well mixed 32-bit number for each index and key ("lowbias32", Chris Wellons' hash prospector).
HWY_INLINE hn::Vec<U32> Hash(hn::Vec<U32> index, uint32_t key) {
  const U32 d;
  auto x = hn::Xor(hn::Mul(index, hn::Set(d, 0x9E3779B1u)), hn::Set(d, key));
  x = hn::Xor(x, hn::ShiftRight<16>(x));
  x = hn::Mul(x, hn::Set(d, 0x7feb352du));
  x = hn::Xor(x, hn::ShiftRight<15>(x));
  x = hn::Mul(x, hn::Set(d, 0x846ca68bu));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

/// What dropout multiplies elements index.. by: 0 with a probability of threshold / 2^24, else `scale`.
HWY_INLINE VF DropoutFactor(uint32_t index, uint32_t key, int32_t threshold, float scale) {
  const auto hash = Hash(hn::Add(hn::Set(U32(), index), hn::Iota(U32(), 0)), key);
  const auto kept = hn::Gt(hn::BitCast(I32(), hn::ShiftRight<8>(hash)), hn::Set(I32(), threshold - 1));
  return hn::IfThenElseZero(hn::RebindMask(F(), kept), hn::Set(F(), scale));
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#endif
