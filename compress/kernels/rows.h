#pragma once
// What a transformer layer does between its matrix products, a row (token) at a time: residual, dropout, norm,
// activation, rotary positions. Each backward function mirrors the forward one above it. Gradients of vectors are sums
// over rows, made in blocks whose size does not depend on the number of threads: the same bits with any number.

#include <cstdint>

#include "compress/base/activation.h"  // Activation
#include "compress/kernels/dropout.h"  // Dropout

namespace compression::kernels {

/// LayerNorm over `width` values a row (Ba et al., arXiv 1607.06450), or RMSNorm (Zhang and Sennrich, arXiv
/// 1910.07467).
struct NormShape {
  int64_t rows = 0, width = 0;
  double eps = 1e-12;
  bool rms = false;
};

/// y = norm(dropout(x) + residual). x, residual, y: [rows, width]; gamma, beta: [width]. residual and beta may be null.
/// Keeps for the backward pass: normalized [rows, width] and inverse_deviation [rows], or null if there will be none.
/// `sum`, if given, gets dropout(x) + residual.
void add_norm_forward(const NormShape& shape, const float* x, const float* residual, const float* gamma,
                      const float* beta, const Dropout& dropout, float* y, float* normalized, float* inverse_deviation,
                      float* sum = nullptr);

/// From dy: d_residual, the gradient of the sum; d_x, that of x before dropout (may be d_residual itself where there is
/// no dropout). Adds to d_gamma, d_beta and d_bias [width] (d_bias: the column sums of d_x, for a bias that x had),
/// which may be null. d_sum, if given, is the gradient of the sum that others made, and is added to it.
void add_norm_backward(const NormShape& shape, const float* dy, const float* normalized, const float* inverse_deviation,
                       const float* gamma, const Dropout& dropout, float* d_residual, float* d_x, float* d_gamma,
                       float* d_beta, float* d_bias, const float* d_sum = nullptr);

/// y = norm(x), then dropout, as after the embeddings.
void norm_dropout_forward(const NormShape& shape, const float* x, const float* gamma, const float* beta,
                          const Dropout& dropout, float* y, float* normalized, float* inverse_deviation);
void norm_dropout_backward(const NormShape& shape, const float* dy, const float* normalized,
                           const float* inverse_deviation, const float* gamma, const Dropout& dropout, float* d_x,
                           float* d_gamma, float* d_beta);

/// y = dropout(x) + residual, [rows, width] each; y may be x. residual may be null: a gradient's way back.
void add_dropout(int64_t rows, int64_t width, const float* x, const float* residual, const Dropout& dropout, float* y);

/// y = activation(x), or, where a gate is given, activation(x) * gate; [rows, width] each.
void activation_forward(Activation activation, int64_t rows, int64_t width, const float* x, float* y,
                        const float* gate = nullptr);

/// dx = dy * activation'(x), which may be dy itself; adds its column sums to d_bias [width], which may be null. With a
/// gate: the gradient of x then, and that of the gate to d_gate, its column sums to d_gate_bias.
void activation_backward(Activation activation, int64_t rows, int64_t width, const float* x, const float* dy, float* dx,
                         float* d_bias, const float* gate = nullptr, float* d_gate = nullptr,
                         float* d_gate_bias = nullptr);

/// Turns each head's features by a token's place, in x [rows, heads * size], which is contiguous: feature i and that
/// size / 2 further on are the parts of a complex number (RoFormer, arXiv 2104.09864, as GPT-NeoX has it). cosine,
/// sine: [places, size / 2]; place: [rows]. back: the other way, as gradients go.
void rotate_heads(int64_t rows, int64_t heads, int64_t size, const int64_t* place, const float* cosine,
                  const float* sine, bool back, float* x);

/// Adds the column sums of x, [rows, width] with `ld` floats from row to row, to sums [width].
void add_column_sums(int64_t rows, int64_t width, const float* x, int64_t ld, float* sums);

}  // namespace compression::kernels
