#include "compress/kernels/adamw.h"

#include <algorithm>
#include <cmath>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/adamw.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using F = hn::ScalableTag<float>;
using VF = hn::Vec<F>;

HWY_INLINE void Step(const AdamWStep& s, VF gradient, VF& parameter, VF& first, VF& second) {
  const F d;
  first = hn::MulAdd(hn::Sub(gradient, first), hn::Set(d, 1.0f - s.beta1), first);
  first = hn::IfThenElseZero(hn::Not(hn::Lt(hn::Abs(first), hn::Set(d, smallest_moment))), first);  // NaN stays
  second = hn::MulAdd(hn::Mul(gradient, gradient), hn::Set(d, 1.0f - s.beta2), hn::Mul(second, hn::Set(d, s.beta2)));
  const auto deviation = hn::MulAdd(hn::Sqrt(second), hn::Set(d, s.root), hn::Set(d, s.eps));
  parameter = hn::NegMulAdd(hn::Set(d, s.rate), hn::Div(first, deviation), hn::Mul(parameter, hn::Set(d, s.decay)));
}

/// gradient may be null: zeros.
void Update(const AdamWStep& s, int64_t count, const float* gradient, float* parameter, float* first, float* second) {
  const F d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto scale = hn::Set(d, s.gradient_scale);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    auto p = hn::LoadU(d, parameter + i), m = hn::LoadU(d, first + i), v = hn::LoadU(d, second + i);
    Step(s, gradient == nullptr ? hn::Zero(d) : hn::Mul(hn::LoadU(d, gradient + i), scale), p, m, v);
    hn::StoreU(p, d, parameter + i);
    hn::StoreU(m, d, first + i);
    hn::StoreU(v, d, second + i);
  }
  for (; i < count; ++i) {
    auto p = hn::Set(d, parameter[i]), m = hn::Set(d, first[i]), v = hn::Set(d, second[i]);
    Step(s, gradient == nullptr ? hn::Zero(d) : hn::Mul(hn::Set(d, gradient[i]), scale), p, m, v);
    parameter[i] = hn::GetLane(p);
    first[i] = hn::GetLane(m);
    second[i] = hn::GetLane(v);
  }
}

/// One row through the steps; when its first moments are all zero, only decay is left to do.
void CatchUpRow(const AdamWStep* steps, int64_t count, int64_t width, float* parameter, float* first, float* second) {
  const F d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  bool moving = true;
  for (int64_t t = 0; t < count; ++t) {
    if (moving) {
      moving = false;
      for (int64_t i = 0; i < width && !moving; ++i) moving = first[i] != 0.0f;
    }
    if (moving) {
      Update(steps[t], width, nullptr, parameter, first, second);
      continue;
    }
    const auto decay = hn::Set(d, steps[t].decay), beta2 = hn::Set(d, steps[t].beta2);
    int64_t i = 0;
    for (; i + n <= width; i += n) {
      hn::StoreU(hn::Mul(hn::LoadU(d, parameter + i), decay), d, parameter + i);
      hn::StoreU(hn::Mul(hn::LoadU(d, second + i), beta2), d, second + i);
    }
    for (; i < width; ++i) {
      parameter[i] *= steps[t].decay;
      second[i] *= steps[t].beta2;
    }
  }
}

/// Lanes are summed in an order of their own for each instruction set.
double SumOfSquares(int64_t count, const float* x) {
  const F d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d), b = hn::Zero(d);
  double rest = 0.0;
  int64_t i = 0;
  for (; i + 2 * n <= count; i += 2 * n) {
    const auto u = hn::LoadU(d, x + i), v = hn::LoadU(d, x + i + n);
    a = hn::MulAdd(u, u, a);
    b = hn::MulAdd(v, v, b);
  }
  for (; i < count; ++i) rest += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)))) + rest;
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "compress/kernels/threads.h"  // parallel_for

namespace compression::kernels {

HWY_EXPORT(Update);
HWY_EXPORT(CatchUpRow);
HWY_EXPORT(SumOfSquares);

void adamw_update(const AdamWStep& step, int64_t count, const float* gradient, float* parameter, float* first,
                  float* second) {
  parallel_for(count, 1 << 14, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(Update)(step, end - begin, gradient + begin, parameter + begin, first + begin, second + begin);
  });
}

void adamw_catch_up(std::span<const AdamWStep> steps, std::span<const int64_t> rows, std::span<const int64_t> since,
                    int64_t width, float* parameter, float* first, float* second) {
  parallel_for(static_cast<int64_t>(rows.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto from = static_cast<size_t>(since[static_cast<size_t>(i)]);
      const int64_t at = rows[static_cast<size_t>(i)] * width;
      HWY_DYNAMIC_DISPATCH(CatchUpRow)
      (steps.data() + from, static_cast<int64_t>(steps.size() - from), width, parameter + at, first + at, second + at);
    }
  });
}

void adamw_update_rows(const AdamWStep& step, std::span<const int64_t> rows, int64_t width, const float* gradient,
                       float* parameter, float* first, float* second) {
  parallel_for(static_cast<int64_t>(rows.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = rows[static_cast<size_t>(i)] * width;
      HWY_DYNAMIC_DISPATCH(Update)(step, width, gradient + i * width, parameter + at, first + at, second + at);
    }
  });
}

double sum_of_squares(int64_t count, const float* x) {
  constexpr int64_t block = 1 << 13;
  const int64_t blocks = (count + block - 1) / block;
  std::vector<double> sums(static_cast<size_t>(blocks));
  parallel_for(blocks, 4, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      sums[static_cast<size_t>(b)] =
          HWY_DYNAMIC_DISPATCH(SumOfSquares)(std::min(block, count - b * block), x + b * block);
    }
  });
  double sum = 0.0;
  for (const double s : sums) sum += s;
  return sum;
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
