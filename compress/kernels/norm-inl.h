// LayerNorm or RMSNorm of a row. Included once for each target: no #pragma once.

#if defined(COMPRESS_KERNELS_NORM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef COMPRESS_KERNELS_NORM_INL_H
#undef COMPRESS_KERNELS_NORM_INL_H
#else
#define COMPRESS_KERNELS_NORM_INL_H
#endif

#include <hwy/highway.h>

#include <cmath>

#include "compress/kernels/dropout.h"  // Dropout
#include "compress/kernels/math-inl.h"

#ifndef COMPRESS_KERNELS_NORM_SHARED
#define COMPRESS_KERNELS_NORM_SHARED
namespace compression::kernels {

/// y = after(norm(before(x) + residual)) of rows, dropout before and after. residual and beta may be null, and so may
/// what a backward pass needs, normalized and inverse_deviation, and `sum`, where before(x) + residual is to stay.
struct NormForward {
  int64_t width;
  float eps;
  const float *x, *residual, *gamma, *beta;
  Dropout before, after;
  float *y, *normalized, *inverse_deviation;
  bool rms = false;  // RMSNorm, else LayerNorm
  float* sum = nullptr;
};

}  // namespace compression::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

HWY_INLINE float FactorAt(const Dropout& dropout, int64_t c, uint32_t key) {
  HWY_ALIGN float all[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(DropoutFactor(static_cast<uint32_t>(c), key, dropout.threshold(), dropout.scale()), F(), all);
  return all[0];
}

HWY_INLINE void NormForwardRow(const NormForward& p, int64_t r) {
  const F d;
  const int64_t w = p.width;
  const float inverse_width = 1.0f / static_cast<float>(w);
  const bool drop_before = p.before.enabled(), drop_after = !drop_before && p.after.enabled();
  const auto& dropout = drop_before ? p.before : p.after;
  const int32_t threshold = drop_before || drop_after ? dropout.threshold() : 0;
  const float scale = dropout.scale();
  const uint32_t key = drop_before || drop_after ? dropout.key(static_cast<uint64_t>(r)) : 0;
  const float* x = p.x + r * w;
  const float* residual = p.residual == nullptr ? nullptr : p.residual + r * w;
  float* y = p.y + r * w;
  float* kept = p.sum == nullptr ? y : p.sum + r * w;
  auto sum = hn::Zero(d);
  float rest = 0.0f;
  EachColumn(
      w,
      [&](int64_t c) HWY_ATTR {
        auto v = hn::LoadU(d, x + c);
        if (drop_before) v = hn::Mul(v, DropoutFactor(static_cast<uint32_t>(c), key, threshold, scale));
        if (residual != nullptr) v = hn::Add(v, hn::LoadU(d, residual + c));
        hn::StoreU(v, d, kept + c);
        sum = hn::Add(sum, v);
      },
      [&](int64_t c) HWY_ATTR {
        float v = x[c];
        if (drop_before) v *= FactorAt(dropout, c, key);
        if (residual != nullptr) v += residual[c];
        kept[c] = v;
        rest += v;
      });
  const float mean = p.rms ? 0.0f : (hn::GetLane(hn::SumOfLanes(d, sum)) + rest) * inverse_width;
  auto squares = hn::Zero(d);
  rest = 0.0f;
  EachColumn(
      w,
      [&](int64_t c) HWY_ATTR {
        const auto v = hn::Sub(hn::LoadU(d, kept + c), hn::Set(d, mean));
        squares = hn::MulAdd(v, v, squares);
      },
      [&](int64_t c) { rest += (kept[c] - mean) * (kept[c] - mean); });
  const float variance = (hn::GetLane(hn::SumOfLanes(d, squares)) + rest) * inverse_width;
  const float inverse = 1.0f / std::sqrt(variance + p.eps);
  if (p.inverse_deviation != nullptr) p.inverse_deviation[r] = inverse;
  float* normalized = p.normalized == nullptr ? nullptr : p.normalized + r * w;
  EachColumn(
      w,
      [&](int64_t c) HWY_ATTR {
        const auto v = hn::Mul(hn::Sub(hn::LoadU(d, kept + c), hn::Set(d, mean)), hn::Set(d, inverse));
        if (normalized != nullptr) hn::StoreU(v, d, normalized + c);
        auto out = hn::MulAdd(v, hn::LoadU(d, p.gamma + c), p.beta == nullptr ? hn::Zero(d) : hn::LoadU(d, p.beta + c));
        if (drop_after) out = hn::Mul(out, DropoutFactor(static_cast<uint32_t>(c), key, threshold, scale));
        hn::StoreU(out, d, y + c);
      },
      [&](int64_t c) HWY_ATTR {
        const float shift = p.beta == nullptr ? 0.0f : p.beta[c];
        const float v = (kept[c] - mean) * inverse;
        if (normalized != nullptr) normalized[c] = v;
        y[c] = v * p.gamma[c] + shift;
        if (drop_after) y[c] *= FactorAt(dropout, c, key);
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#endif
