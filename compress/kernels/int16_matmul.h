#pragma once
// Matrix products for training on processors without bfloat16 arithmetic: block floating point with 16-bit integers.
//
// A row of an operand is stored as integers q, |q| <= 2047, with one float32 scale: twelve bits that share an exponent,
// as in Flexpoint (Koester et al., arXiv 1711.02213). The smallest step is 2^-11 of a row's largest value; bfloat16
// keeps 2^-9 of each value. Products are summed exactly in 32 bits, over at most 512 terms (2047^2 * 512 < 2^31), then
// in float32.
//
// A scale must not depend on the index that is summed over. Where it would, it is moved into the other operand before
// that is rounded: dx = dy w sums over the outputs, so that the scales of w's rows are multiplied into dy.

#include <cstdint>

#include "compress/kernels/buffer.h"  // Buffer

namespace compression::kernels {

/// x[r][c] = scale[r] * values[r * stride + c].
struct Int16Rows {
  int64_t rows = 0, columns = 0;
  int64_t stride = 0;  // columns, rounded up to an even number; the padding is zero
  Buffer<int16_t> values;
  Buffer<float> scale;  // NaN for a row that holds NaN or infinity, so that the products do too
};

/// x: [rows, columns], `ld` floats from row to row. column_factor [columns], if given, is multiplied in first.
void quantize_rows(const float* x, int64_t rows, int64_t columns, int64_t ld, const float* column_factor,
                   Int16Rows& result);

/// A linear layer's weight, in the orders that its two products read it.
struct Int16Weight {
  int64_t out = 0, in = 0;
  Buffer<int16_t> by_output, by_input;
  Buffer<float> scale;  // [out]
};

/// weight: [out, in], contiguous.
void pack_weight(const float* weight, int64_t out, int64_t in, Int16Weight& result);

/// y = x w^T + bias. x: [rows, in]; y: [rows, out], `ld` floats from row to row; bias: [out] or null.
void matmul_forward(const Int16Rows& x, const Int16Weight& weight, const float* bias, float* y, int64_t ld);

/// dx = dy w, or dx += dy w. dy: [rows, out]; dx: [rows, in].
void matmul_input_gradient(const float* dy, int64_t rows, int64_t ld_dy, const Int16Weight& weight, float* dx,
                           int64_t ld_dx, bool accumulate);

/// dw = dy^T x, or dw += dy^T x. dy: [rows, out]; x: [rows, in]; dw: [out, in], contiguous.
void matmul_weight_gradient(const float* dy, int64_t out, int64_t ld_dy, const Int16Rows& x, float* dw,
                            bool accumulate);

}  // namespace compression::kernels
