#pragma once
// What a transformer layer does between its matrix products, a row (token) at a time: residual, dropout, LayerNorm,
// activation. Each backward function mirrors the forward one above it. Gradients of vectors are sums over rows, made in
// blocks whose size does not depend on the number of threads: the same bits with any number.

#include <cstdint>

#include "compress/base/activation.h"  // Activation
#include "compress/kernels/dropout.h"  // Dropout

namespace compression::kernels {

/// LayerNorm over `width` values a row (Ba et al., arXiv 1607.06450).
struct NormShape {
  int64_t rows = 0, width = 0;
  double eps = 1e-12;
};

/// y = LayerNorm(dropout(x) + residual). x, residual, y: [rows, width]; gamma, beta: [width]. residual may be null.
/// Keeps for the backward pass: normalized [rows, width] and inverse_deviation [rows], or null if there will be none.
void add_norm_forward(const NormShape& shape, const float* x, const float* residual, const float* gamma,
                      const float* beta, const Dropout& dropout, float* y, float* normalized, float* inverse_deviation);

/// From dy: d_residual, the gradient of the sum; d_x, that of x before dropout (may be d_residual itself where there is
/// no dropout). Adds to d_gamma, d_beta and d_bias [width] (d_bias: the column sums of d_x, for a bias that x had; may
/// be null).
void add_norm_backward(const NormShape& shape, const float* dy, const float* normalized, const float* inverse_deviation,
                       const float* gamma, const Dropout& dropout, float* d_residual, float* d_x, float* d_gamma,
                       float* d_beta, float* d_bias);

/// y = LayerNorm(x), then dropout, as after the embeddings.
void norm_dropout_forward(const NormShape& shape, const float* x, const float* gamma, const float* beta,
                          const Dropout& dropout, float* y, float* normalized, float* inverse_deviation);
void norm_dropout_backward(const NormShape& shape, const float* dy, const float* normalized,
                           const float* inverse_deviation, const float* gamma, const Dropout& dropout, float* d_x,
                           float* d_gamma, float* d_beta);

/// y = activation(x), [rows, width] each.
void activation_forward(Activation activation, int64_t rows, int64_t width, const float* x, float* y);

/// dx = dy * activation'(x), which may be dy itself; adds its column sums to d_bias [width].
void activation_backward(Activation activation, int64_t rows, int64_t width, const float* x, const float* dy, float* dx,
                         float* d_bias);

/// Adds the column sums of x, [rows, width] with `ld` floats from row to row, to sums [width].
void add_column_sums(int64_t rows, int64_t width, const float* x, int64_t ld, float* sums);

}  // namespace compression::kernels
