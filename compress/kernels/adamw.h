#pragma once
// The arithmetic of AdamW (Loshchilov and Hutter, arXiv 1711.05101): one pass over parameters, gradients and moments.

#include <cstdint>
#include <span>

namespace compression::kernels {

/// What one step needs besides the tensors.
struct AdamWStep {
  float decay;  // 1 - learning rate * weight decay
  float rate;   // learning rate / (1 - beta1^t)
  float root;   // 1 / sqrt(1 - beta2^t)
  float beta1, beta2, eps;
  float gradient_scale;  // multiplied into the gradient: clipping
};

/// First moments below this become zero, so that a parameter that gets no more gradients comes to rest.
constexpr float smallest_moment = 1e-30f;

/// One step on `count` values.
void adamw_update(const AdamWStep& step, int64_t count, const float* gradient, float* parameter, float* first,
                  float* second);

/// Steps without gradient for rows of `width` values: row i of rows has seen none of the steps [since[i],
/// steps.size()). The same bits as adamw_update with zeros, step by step.
void adamw_catch_up(std::span<const AdamWStep> steps, std::span<const int64_t> rows, std::span<const int64_t> since,
                    int64_t width, float* parameter, float* first, float* second);

/// One step on rows: row i of rows has the gradient gradient[i].
void adamw_update_rows(const AdamWStep& step, std::span<const int64_t> rows, int64_t width, const float* gradient,
                       float* parameter, float* first, float* second);

/// Of `count` values, in blocks that do not depend on the number of threads.
double sum_of_squares(int64_t count, const float* x);

}  // namespace compression::kernels
