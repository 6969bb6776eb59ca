#include "compress/kernels/rows.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "compress/kernels/buffer.h"  // Buffer

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/norm-inl.h"

#ifndef COMPRESS_KERNELS_ROWS_SHARED
#define COMPRESS_KERNELS_ROWS_SHARED
namespace compression::kernels {

struct NormBackward {
  int64_t width;
  const float *dy, *normalized, *inverse_deviation, *gamma;
  Dropout before, after;
  float *d_sum, *d_x;
};

}  // namespace compression::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

void NormForwardRows(const NormForward& p, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) NormForwardRow(p, r);
}

/// sums: [3][width], of dy * normalized, dy and d_x; zeroed here.
void NormBackwardRows(const NormBackward& p, int64_t begin, int64_t end, float* sums) {
  const F d;
  const int64_t w = p.width;
  const float inverse_width = 1.0f / static_cast<float>(w);
  const bool drop_before = p.before.enabled(), drop_after = p.after.enabled();
  const int32_t threshold = (drop_before ? p.before : p.after).threshold();
  const float scale = (drop_before ? p.before : p.after).scale();
  float *gamma_sums = sums, *beta_sums = sums + w, *bias_sums = sums + 2 * w;
  std::memset(sums, 0, static_cast<size_t>(3 * w) * sizeof(float));
  for (int64_t r = begin; r < end; ++r) {
    const float *dy = p.dy + r * w, *normalized = p.normalized + r * w;
    float *d_sum = p.d_sum + r * w, *d_x = p.d_x + r * w;
    const uint32_t key = drop_before  ? p.before.key(static_cast<uint64_t>(r))
                         : drop_after ? p.after.key(static_cast<uint64_t>(r))
                                      : 0;
    auto sum = hn::Zero(d), dot = hn::Zero(d);
    float sum_rest = 0.0f, dot_rest = 0.0f;
    EachColumn(
        w,
        [&](int64_t c) HWY_ATTR {
          auto g = hn::LoadU(d, dy + c);
          if (drop_after) g = hn::Mul(g, DropoutFactor(static_cast<uint32_t>(c), key, threshold, scale));
          const auto v = hn::LoadU(d, normalized + c);
          hn::StoreU(hn::MulAdd(g, v, hn::LoadU(d, gamma_sums + c)), d, gamma_sums + c);
          hn::StoreU(hn::Add(g, hn::LoadU(d, beta_sums + c)), d, beta_sums + c);
          const auto weighted = hn::Mul(g, hn::LoadU(d, p.gamma + c));
          hn::StoreU(weighted, d, d_sum + c);
          sum = hn::Add(sum, weighted);
          dot = hn::MulAdd(weighted, v, dot);
        },
        [&](int64_t c) HWY_ATTR {
          float g = dy[c];
          if (drop_after) g *= FactorAt(p.after, c, key);
          gamma_sums[c] += g * normalized[c];
          beta_sums[c] += g;
          const float weighted = g * p.gamma[c];
          d_sum[c] = weighted;
          sum_rest += weighted;
          dot_rest += weighted * normalized[c];
        });
    const float mean = (hn::GetLane(hn::SumOfLanes(d, sum)) + sum_rest) * inverse_width;
    const float slope = (hn::GetLane(hn::SumOfLanes(d, dot)) + dot_rest) * inverse_width;
    const float inverse = p.inverse_deviation[r];
    EachColumn(
        w,
        [&](int64_t c) HWY_ATTR {
          auto v = hn::Sub(hn::LoadU(d, d_sum + c), hn::Set(d, mean));
          v = hn::NegMulAdd(hn::LoadU(d, normalized + c), hn::Set(d, slope), v);
          v = hn::Mul(v, hn::Set(d, inverse));
          hn::StoreU(v, d, d_sum + c);
          if (drop_before) v = hn::Mul(v, DropoutFactor(static_cast<uint32_t>(c), key, threshold, scale));
          hn::StoreU(v, d, d_x + c);
          hn::StoreU(hn::Add(v, hn::LoadU(d, bias_sums + c)), d, bias_sums + c);
        },
        [&](int64_t c) HWY_ATTR {
          float v = (d_sum[c] - mean - normalized[c] * slope) * inverse;
          d_sum[c] = v;
          if (drop_before) v *= FactorAt(p.before, c, key);
          d_x[c] = v;
          bias_sums[c] += v;
        });
  }
}

template <Activation kind>
HWY_INLINE VF Slope(VF x) {
  const F d;
  const auto one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
  if constexpr (kind == Activation::none) {
    return one;
  } else if constexpr (kind == Activation::relu) {
    return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), one);
  } else if constexpr (kind == Activation::gelu_tanh) {
    const auto k = hn::Set(d, 0.79788456080286536f), square = hn::Mul(x, x);
    const auto tanh = Tanh(hn::Mul(hn::Mul(x, k), hn::MulAdd(square, hn::Set(d, 0.044715f), one)));
    const auto inner = hn::Mul(k, hn::MulAdd(square, hn::Set(d, 3 * 0.044715f), one));
    return hn::MulAdd(hn::Mul(hn::Mul(half, x), hn::NegMulAdd(tanh, tanh, one)), inner,
                      hn::Mul(half, hn::Add(one, tanh)));
  } else if constexpr (kind == Activation::tanh) {
    const auto tanh = Tanh(x);
    return hn::NegMulAdd(tanh, tanh, one);
  } else if constexpr (kind == Activation::silu || kind == Activation::sigmoid) {
    const auto s = Sigmoid(x), slope = hn::Mul(s, hn::Sub(one, s));
    return kind == Activation::silu ? hn::MulAdd(x, slope, s) : slope;
  } else {
    static_assert(kind == Activation::gelu);
    VF bell;
    const auto phi = NormalDistribution(x, bell);
    return hn::MulAdd(hn::Mul(x, bell), hn::Set(d, 0.39894228040143268f), phi);
  }
}

void ActivationForward(Activation activation, int64_t count, const float* x, float* y) {
  WithActivation(activation, [&](auto kind) HWY_ATTR {
    const F d;
    EachColumn(
        count, [&](int64_t i) HWY_ATTR { hn::StoreU(Activate<kind()>(hn::LoadU(d, x + i)), d, y + i); },
        [&](int64_t i) HWY_ATTR { y[i] = hn::GetLane(Activate<kind()>(hn::Set(d, x[i]))); });
  });
}

template <Activation kind>
void BackwardRows(int64_t width, const float* x, const float* dy, float* dx, int64_t begin, int64_t end, float* sums) {
  const F d;
  std::memset(sums, 0, static_cast<size_t>(width) * sizeof(float));
  for (int64_t r = begin; r < end; ++r) {
    const float *row = x + r * width, *gradient = dy + r * width;
    float* to = dx + r * width;
    EachColumn(
        width,
        [&](int64_t c) HWY_ATTR {
          const auto v = hn::Mul(hn::LoadU(d, gradient + c), Slope<kind>(hn::LoadU(d, row + c)));
          hn::StoreU(v, d, to + c);
          hn::StoreU(hn::Add(v, hn::LoadU(d, sums + c)), d, sums + c);
        },
        [&](int64_t c) HWY_ATTR {
          to[c] = gradient[c] * hn::GetLane(Slope<kind>(hn::Set(d, row[c])));
          sums[c] += to[c];
        });
  }
}

void ActivationBackward(Activation activation, int64_t width, const float* x, const float* dy, float* dx, int64_t begin,
                        int64_t end, float* sums) {
  WithActivation(activation, [&](auto kind) HWY_ATTR { BackwardRows<kind()>(width, x, dy, dx, begin, end, sums); });
}

void ColumnSums(int64_t width, const float* x, int64_t ld, int64_t begin, int64_t end, float* sums) {
  const F d;
  std::memset(sums, 0, static_cast<size_t>(width) * sizeof(float));
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * ld;
    EachColumn(
        width,
        [&](int64_t c) HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, row + c), hn::LoadU(d, sums + c)), d, sums + c); },
        [&](int64_t c) { sums[c] += row[c]; });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "compress/kernels/threads.h"  // parallel_for

namespace compression::kernels {

HWY_EXPORT(NormForwardRows);
HWY_EXPORT(NormBackwardRows);
HWY_EXPORT(ActivationForward);
HWY_EXPORT(ActivationBackward);
HWY_EXPORT(ColumnSums);

namespace {

constexpr int64_t block_rows = 32;

/// Calls block(begin, end, sums) for blocks of rows, `width` sums each, and adds the blocks' sums in their order.
template <class Block>
void sum_blocks(int64_t rows, int64_t width, Block&& block, float* sums) {
  const int64_t blocks = (rows + block_rows - 1) / block_rows;
  Buffer<float> partial(blocks * width);
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      block(b * block_rows, std::min((b + 1) * block_rows, rows), partial.data() + b * width);
    }
  });
  for (int64_t b = 0; b < blocks; ++b) {
    const float* from = partial.data() + b * width;
    for (int64_t c = 0; c < width; ++c) sums[c] += from[c];
  }
}

void norm_forward(const NormForward& p, int64_t rows) {
  parallel_for(rows, block_rows, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(NormForwardRows)(p, begin, end);
  });
}

void norm_backward(const NormBackward& p, int64_t rows, float* d_gamma, float* d_beta, float* d_bias) {
  const int64_t w = p.width;
  Buffer<float> sums(3 * w);
  std::fill_n(sums.data(), 3 * w, 0.0f);
  sum_blocks(
      rows, 3 * w,
      [&](int64_t begin, int64_t end, float* partial) {
        HWY_DYNAMIC_DISPATCH(NormBackwardRows)(p, begin, end, partial);
      },
      sums.data());
  const auto add = [&](float* to, int64_t part) {
    for (int64_t c = 0; to != nullptr && c < w; ++c) to[c] += sums.data()[part * w + c];
  };
  add(d_gamma, 0);
  add(d_beta, 1);
  add(d_bias, 2);
}

}  // namespace

void add_norm_forward(const NormShape& shape, const float* x, const float* residual, const float* gamma,
                      const float* beta, const Dropout& dropout, float* y, float* normalized,
                      float* inverse_deviation) {
  norm_forward({shape.width,
                static_cast<float>(shape.eps),
                x,
                residual,
                gamma,
                beta,
                dropout,
                {},
                y,
                normalized,
                inverse_deviation},
               shape.rows);
}

void add_norm_backward(const NormShape& shape, const float* dy, const float* normalized, const float* inverse_deviation,
                       const float* gamma, const Dropout& dropout, float* d_residual, float* d_x, float* d_gamma,
                       float* d_beta, float* d_bias) {
  norm_backward({shape.width, dy, normalized, inverse_deviation, gamma, dropout, {}, d_residual, d_x}, shape.rows,
                d_gamma, d_beta, d_bias);
}

void norm_dropout_forward(const NormShape& shape, const float* x, const float* gamma, const float* beta,
                          const Dropout& dropout, float* y, float* normalized, float* inverse_deviation) {
  norm_forward({shape.width,
                static_cast<float>(shape.eps),
                x,
                nullptr,
                gamma,
                beta,
                {},
                dropout,
                y,
                normalized,
                inverse_deviation},
               shape.rows);
}

void norm_dropout_backward(const NormShape& shape, const float* dy, const float* normalized,
                           const float* inverse_deviation, const float* gamma, const Dropout& dropout, float* d_x,
                           float* d_gamma, float* d_beta) {
  norm_backward({shape.width, dy, normalized, inverse_deviation, gamma, {}, dropout, d_x, d_x}, shape.rows, d_gamma,
                d_beta, nullptr);
}

void activation_forward(Activation activation, int64_t rows, int64_t width, const float* x, float* y) {
  parallel_for(rows * width, 1 << 14, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ActivationForward)(activation, end - begin, x + begin, y + begin);
  });
}

void activation_backward(Activation activation, int64_t rows, int64_t width, const float* x, const float* dy, float* dx,
                         float* d_bias) {
  sum_blocks(
      rows, width,
      [&](int64_t begin, int64_t end, float* sums) {
        HWY_DYNAMIC_DISPATCH(ActivationBackward)(activation, width, x, dy, dx, begin, end, sums);
      },
      d_bias);
}

void add_column_sums(int64_t rows, int64_t width, const float* x, int64_t ld, float* sums) {
  sum_blocks(
      rows, width,
      [&](int64_t begin, int64_t end, float* partial) {
        HWY_DYNAMIC_DISPATCH(ColumnSums)(width, x, ld, begin, end, partial);
      },
      sums);
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
