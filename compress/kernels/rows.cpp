#include "compress/kernels/rows.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
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
  const float* others = nullptr;  // d_sum is to have more than what comes through the norm
  bool rms = false;
};

struct Rotation {
  int64_t heads, size;
  const int64_t* place;
  const float *cosine, *sine;
  float sign;  // of the sine
  float* x;
};

struct ActivationBackward {
  Activation activation;
  int64_t width;
  const float *x, *gate, *dy;  // gate: may be null, and then d_gate is
  float *dx, *d_gate;
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
    const float* others = p.others == nullptr ? nullptr : p.others + r * w;
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
    const float mean = p.rms ? 0.0f : (hn::GetLane(hn::SumOfLanes(d, sum)) + sum_rest) * inverse_width;
    const float slope = (hn::GetLane(hn::SumOfLanes(d, dot)) + dot_rest) * inverse_width;
    const float inverse = p.inverse_deviation[r];
    EachColumn(
        w,
        [&](int64_t c) HWY_ATTR {
          auto v = hn::Sub(hn::LoadU(d, d_sum + c), hn::Set(d, mean));
          v = hn::NegMulAdd(hn::LoadU(d, normalized + c), hn::Set(d, slope), v);
          v = hn::Mul(v, hn::Set(d, inverse));
          if (others != nullptr) v = hn::Add(v, hn::LoadU(d, others + c));
          hn::StoreU(v, d, d_sum + c);
          if (drop_before) v = hn::Mul(v, DropoutFactor(static_cast<uint32_t>(c), key, threshold, scale));
          hn::StoreU(v, d, d_x + c);
          hn::StoreU(hn::Add(v, hn::LoadU(d, bias_sums + c)), d, bias_sums + c);
        },
        [&](int64_t c) HWY_ATTR {
          float v = (d_sum[c] - mean - normalized[c] * slope) * inverse;
          if (others != nullptr) v += others[c];
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

void ActivationForward(Activation activation, int64_t count, const float* x, const float* gate, float* y) {
  WithActivation(activation, [&](auto kind) HWY_ATTR {
    const F d;
    EachColumn(
        count,
        [&](int64_t i) HWY_ATTR {
          auto v = Activate<kind()>(hn::LoadU(d, x + i));
          if (gate != nullptr) v = hn::Mul(v, hn::LoadU(d, gate + i));
          hn::StoreU(v, d, y + i);
        },
        [&](int64_t i) HWY_ATTR {
          y[i] = hn::GetLane(Activate<kind()>(hn::Set(d, x[i])));
          if (gate != nullptr) y[i] *= gate[i];
        });
  });
}

/// sums: [width], or [2][width] with a gate, zeroed here.
template <Activation kind>
void BackwardRows(const ActivationBackward& p, int64_t begin, int64_t end, float* sums) {
  const F d;
  const int64_t width = p.width;
  std::memset(sums, 0, static_cast<size_t>(p.gate == nullptr ? width : 2 * width) * sizeof(float));
  for (int64_t r = begin; r < end; ++r) {
    const float *row = p.x + r * width, *gradient = p.dy + r * width;
    float* to = p.dx + r * width;
    if (p.gate == nullptr) {
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
      continue;
    }
    const float* gate = p.gate + r * width;
    float *to_gate = p.d_gate + r * width, *gate_sums = sums + width;
    EachColumn(
        width,
        [&](int64_t c) HWY_ATTR {
          const auto g = hn::LoadU(d, gradient + c), v = hn::LoadU(d, row + c);
          const auto dx = hn::Mul(hn::Mul(g, hn::LoadU(d, gate + c)), Slope<kind>(v));
          const auto dg = hn::Mul(g, Activate<kind>(v));
          hn::StoreU(dx, d, to + c);
          hn::StoreU(dg, d, to_gate + c);
          hn::StoreU(hn::Add(dx, hn::LoadU(d, sums + c)), d, sums + c);
          hn::StoreU(hn::Add(dg, hn::LoadU(d, gate_sums + c)), d, gate_sums + c);
        },
        [&](int64_t c) HWY_ATTR {
          const auto v = hn::Set(d, row[c]);
          to_gate[c] = gradient[c] * hn::GetLane(Activate<kind>(v));
          to[c] = gradient[c] * gate[c] * hn::GetLane(Slope<kind>(v));
          sums[c] += to[c];
          gate_sums[c] += to_gate[c];
        });
  }
}

void ActivationBackwardRows(const ActivationBackward& p, int64_t begin, int64_t end, float* sums) {
  WithActivation(p.activation, [&](auto kind) HWY_ATTR { BackwardRows<kind()>(p, begin, end, sums); });
}

void AddDropoutRows(const Dropout& dropout, int64_t width, const float* x, const float* residual, int64_t begin,
                    int64_t end, float* y) {
  const F d;
  const bool drop = dropout.enabled();
  const int32_t threshold = drop ? dropout.threshold() : 0;
  const float scale = dropout.scale();
  for (int64_t r = begin; r < end; ++r) {
    const uint32_t key = drop ? dropout.key(static_cast<uint64_t>(r)) : 0;
    const float *from = x + r * width, *other = residual == nullptr ? nullptr : residual + r * width;
    float* to = y + r * width;
    EachColumn(
        width,
        [&](int64_t c) HWY_ATTR {
          auto v = hn::LoadU(d, from + c);
          if (drop) v = hn::Mul(v, DropoutFactor(static_cast<uint32_t>(c), key, threshold, scale));
          if (other != nullptr) v = hn::Add(v, hn::LoadU(d, other + c));
          hn::StoreU(v, d, to + c);
        },
        [&](int64_t c) HWY_ATTR {
          float v = from[c];
          if (drop) v *= FactorAt(dropout, c, key);
          to[c] = other == nullptr ? v : v + other[c];
        });
  }
}

/// One head's halves (x, y) to (x cosine - y sine, y cosine + x sine), with `sign` times the sine.
HWY_INLINE void RotateHead(int64_t half, const float* cosine, const float* sine, float sign, float* x) {
  const F d;
  float* y = x + half;
  EachColumn(
      half,
      [&](int64_t c) HWY_ATTR {
        const auto by = hn::LoadU(d, cosine + c), across = hn::Mul(hn::LoadU(d, sine + c), hn::Set(d, sign));
        const auto first = hn::LoadU(d, x + c), second = hn::LoadU(d, y + c);
        hn::StoreU(hn::NegMulAdd(second, across, hn::Mul(first, by)), d, x + c);
        hn::StoreU(hn::MulAdd(first, across, hn::Mul(second, by)), d, y + c);
      },
      [&](int64_t c) {
        const float across = sine[c] * sign, first = x[c], second = y[c];
        x[c] = first * cosine[c] - second * across;
        y[c] = second * cosine[c] + first * across;
      });
}

void RotateRows(const Rotation& p, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const int64_t at = p.place[r] * (p.size / 2);
    for (int64_t h = 0; h < p.heads; ++h) {
      RotateHead(p.size / 2, p.cosine + at, p.sine + at, p.sign, p.x + (r * p.heads + h) * p.size);
    }
  }
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
HWY_EXPORT(ActivationBackwardRows);
HWY_EXPORT(AddDropoutRows);
HWY_EXPORT(RotateRows);
HWY_EXPORT(ColumnSums);

namespace {

constexpr int64_t block_rows = 32;

/// Calls block(begin, end, sums) for blocks of rows, `width` sums for each of `targets`, and adds the blocks' sums in
/// their order; to no target that is null.
template <class Block>
void sum_blocks(int64_t rows, int64_t width, std::initializer_list<float*> targets, Block&& block) {
  const int64_t blocks = (rows + block_rows - 1) / block_rows, all = static_cast<int64_t>(targets.size()) * width;
  Buffer<float> partial(blocks * all);
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      block(b * block_rows, std::min((b + 1) * block_rows, rows), partial.data() + b * all);
    }
  });
  const float* from = partial.data();
  for (float* to : targets) {
    for (int64_t b = 0; to != nullptr && b < blocks; ++b) {
      for (int64_t c = 0; c < width; ++c) to[c] += from[b * all + c];
    }
    from += width;
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
  sum_blocks(rows, 3 * w, {sums.data()}, [&](int64_t begin, int64_t end, float* partial) {
    HWY_DYNAMIC_DISPATCH(NormBackwardRows)(p, begin, end, partial);
  });
  const auto add = [&](float* to, int64_t part) {
    for (int64_t c = 0; to != nullptr && c < w; ++c) to[c] += sums.data()[part * w + c];
  };
  add(d_gamma, 0);
  add(d_beta, 1);
  add(d_bias, 2);
}

}  // namespace

void add_norm_forward(const NormShape& shape, const float* x, const float* residual, const float* gamma,
                      const float* beta, const Dropout& dropout, float* y, float* normalized, float* inverse_deviation,
                      float* sum) {
  norm_forward({.width = shape.width,
                .eps = static_cast<float>(shape.eps),
                .x = x,
                .residual = residual,
                .gamma = gamma,
                .beta = beta,
                .before = dropout,
                .after = {},
                .y = y,
                .normalized = normalized,
                .inverse_deviation = inverse_deviation,
                .rms = shape.rms,
                .sum = sum},
               shape.rows);
}

void add_norm_backward(const NormShape& shape, const float* dy, const float* normalized, const float* inverse_deviation,
                       const float* gamma, const Dropout& dropout, float* d_residual, float* d_x, float* d_gamma,
                       float* d_beta, float* d_bias, const float* d_sum) {
  norm_backward({shape.width, dy, normalized, inverse_deviation, gamma, dropout, {}, d_residual, d_x, d_sum, shape.rms},
                shape.rows, d_gamma, d_beta, d_bias);
}

void norm_dropout_forward(const NormShape& shape, const float* x, const float* gamma, const float* beta,
                          const Dropout& dropout, float* y, float* normalized, float* inverse_deviation) {
  norm_forward({.width = shape.width,
                .eps = static_cast<float>(shape.eps),
                .x = x,
                .residual = nullptr,
                .gamma = gamma,
                .beta = beta,
                .before = {},
                .after = dropout,
                .y = y,
                .normalized = normalized,
                .inverse_deviation = inverse_deviation,
                .rms = shape.rms},
               shape.rows);
}

void norm_dropout_backward(const NormShape& shape, const float* dy, const float* normalized,
                           const float* inverse_deviation, const float* gamma, const Dropout& dropout, float* d_x,
                           float* d_gamma, float* d_beta) {
  norm_backward({shape.width, dy, normalized, inverse_deviation, gamma, {}, dropout, d_x, d_x, nullptr, shape.rms},
                shape.rows, d_gamma, d_beta, nullptr);
}

void add_dropout(int64_t rows, int64_t width, const float* x, const float* residual, const Dropout& dropout, float* y) {
  parallel_for(rows, block_rows, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AddDropoutRows)(dropout, width, x, residual, begin, end, y);
  });
}

void activation_forward(Activation activation, int64_t rows, int64_t width, const float* x, float* y,
                        const float* gate) {
  parallel_for(rows * width, 1 << 14, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ActivationForward)
    (activation, end - begin, x + begin, gate == nullptr ? nullptr : gate + begin, y + begin);
  });
}

void activation_backward(Activation activation, int64_t rows, int64_t width, const float* x, const float* dy, float* dx,
                         float* d_bias, const float* gate, float* d_gate, float* d_gate_bias) {
  const ActivationBackward p{activation, width, x, gate, dy, dx, d_gate};
  const auto block = [&](int64_t begin, int64_t end, float* sums) {
    HWY_DYNAMIC_DISPATCH(ActivationBackwardRows)(p, begin, end, sums);
  };
  gate == nullptr ? sum_blocks(rows, width, {d_bias}, block) : sum_blocks(rows, width, {d_bias, d_gate_bias}, block);
}

void rotate_heads(int64_t rows, int64_t heads, int64_t size, const int64_t* place, const float* cosine,
                  const float* sine, bool back, float* x) {
  const Rotation p{heads, size, place, cosine, sine, back ? -1.0f : 1.0f, x};
  parallel_for(rows, block_rows, [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(RotateRows)(p, begin, end); });
}

void add_column_sums(int64_t rows, int64_t width, const float* x, int64_t ld, float* sums) {
  sum_blocks(rows, width, {sums}, [&](int64_t begin, int64_t end, float* partial) {
    HWY_DYNAMIC_DISPATCH(ColumnSums)(width, x, ld, begin, end, partial);
  });
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
