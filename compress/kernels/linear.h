#pragma once
// Linear layers for inference: weights packed once for the machine, activations quantized a row at a time. Integer sums
// are the same on every instruction set: int8 is multiplied by AMX, by VNNI or in 16 bits, never by instructions that
// saturate.

#include <cstdint>
#include <string>

#include "compress/base/activation.h"     // Activation
#include "compress/base/host_tensor.h"    // DType
#include "compress/base/weight_format.h"  // WeightFormat
#include "compress/kernels/buffer.h"      // Buffer
#include "compress/kernels/sparse.h"      // SparseWords

namespace compression::kernels {

/// What products are made of. Sums of int8 are exact in 32 bits, of the others float32.
enum class Number { int8, bfloat16, float32 };

/// Four bytes of a row: so many values.
constexpr int64_t values_per_word(Number number) {
  return number == Number::int8 ? 4 : number == Number::bfloat16 ? 2 : 1;
}

/// A weight [out, in] in panels of columns.
struct LinearWeight {
  Number number = Number::float32;
  DType dtype = DType::float32;                 // of the values: as narrow as their number, or of 16 bits and widened
  WeightFormat stored = WeightFormat::float32;  // what they were made of: compress/storage keeps it
  int64_t out = 0, in = 0;
  int64_t words = 0, panels = 0;  // of a row of its input; of the weight
  float input_scale = 0.0f;       // int8: of each row of its input; 0: measured for each row
  /// Values lie as [panel][step][column], so many bytes a column: a word, or, where it is widened as it is read, a
  /// half. Behind them are zeros that tiles read.
  int64_t steps = 0, step_bytes = 4;
  Buffer<uint32_t> values;
  bool has_bias = true;       // else `bias` is 0; the caller of pack_linear() keeps it
  Buffer<float> scale, bias;  // [panel][column]
  Buffer<int32_t> start;      // int8: what 128 in each activation adds to the sums, negative
  SparseWords sparse;         // int8: the same numbers without the zeros
};

/// Columns of a panel on this machine.
int64_t panel_width();

/// values: int8, bfloat16 or float32 [out, in]; scale [out] for int8, else null; bias [out], or null: 0.
void pack_linear(Number number, const void* values, const float* scale, const float* bias, int64_t out, int64_t in,
                 LinearWeight& result);

/// For products of float32; values: float16, bfloat16 or float32 [out, in]. Those of 16 bits stay so, and are widened
/// while they are multiplied: the same bits come out as of the same numbers in float32.
void pack_floats(DType dtype, const void* values, const float* bias, int64_t out, int64_t in, LinearWeight& result);

/// The inverse: values [out, in] of the weight's dtype.
void unpack_linear(const LinearWeight& weight, void* values);

/// Rows of activations as products take them, in memory of the caller's. int8: clamp(round(x / scale), -128, 127) +
/// 128, ties to even, with `fixed_scale` or, where that is 0, scale = max |x| / 127 of the row.
struct LinearInput {
  Number number = Number::float32;
  int64_t stride = 0;  // words from row to row
  uint32_t* values = nullptr;
  float* scale = nullptr;  // a row
  float fixed_scale = 0.0f;

  LinearInput from(int64_t row) const {
    auto rest = *this;
    rest.values += row * stride;
    rest.scale += row;
    return rest;
  }
};

/// Rows [first, last) of x, `ld` floats apart.
void prepare_rows(const float* x, int64_t ld, int64_t columns, int64_t first, int64_t last, const LinearInput& result);

/// to[i] += by * row[i]; row: int8, bfloat16, float16 or float32 [width].
void add_row(DType dtype, const void* row, float by, int64_t width, float* to);

/// y = norm(x + residual) for rows [first, last), and input_norm(y) as input of a product unless `result` is null.
/// residual may be null; y may be x or the residual.
struct Norm {
  int64_t width = 0;
  float eps = 0.0f;
  const float *gamma = nullptr, *beta = nullptr;  // [width]; gamma null: what it is given stays as it is
  bool rms = false;                               // RMSNorm, else LayerNorm
};
void norm_rows(const Norm& norm, const float* x, const float* residual, int64_t first, int64_t last, float* y,
               const LinearInput* result, const Norm& input_norm = {});

struct Range {
  int64_t first, last;
};

/// What becomes of a product: a function of it, times a factor each, which stand as y does; null: 1. Factors are for
/// weights of whole panels.
struct Epilogue {
  Activation function = Activation::none;
  const float* factor = nullptr;

  Epilogue(Activation kind, const float* by = nullptr) : function(kind), factor(by) {}
  Epilogue from(int64_t place) const { return {function, factor == nullptr ? nullptr : factor + place}; }
};

/// y = epilogue(x weight^T + bias) for rows [first, last) of x and panels [from, to) of the weight. Row r of y begins
/// at y + r * ld; panel p at column p * panel_width() of it.
void multiply(const LinearInput& x, const LinearWeight& weight, Range rows, Range panels, const Epilogue& epilogue,
              float* y, int64_t ld);

/// y [rows, out] = function(x weight^T + bias) of x [rows, in], without gaps, in OpenMP's threads. int8: rows are
/// quantized as LinearInput says, with `fixed_scale`; 0: each by its own largest value.
void multiply_rows(const float* x, int64_t rows, const LinearWeight& weight, float fixed_scale, float* y,
                   Activation function = Activation::none);

/// The plain form of the int8 product, which every kernel equals: sums[r][o] of rows of x, as prepare_rows made them,
/// without the 128.
void int8_sums(const LinearInput& x, const int8_t* weight, int64_t rows, int64_t out, int64_t in, int32_t* sums);

/// Beyond Highway's targets: AMX where the processor has it, and AVX-VNNI beside AVX2. Tests turn both off, or put
/// tiles in memory in the place of AMX.
enum class Multiplier { best, of_target, plain_tiles };
void choose_multiplier_for_test(Multiplier chosen);

/// The instruction sets that kernels are compiled for, as Highway's bits.
int64_t compiled_targets();

/// Which kernels run here: "AVX-512 VNNI", ...
std::string int8_kernel();
std::string bfloat16_kernel();

}  // namespace compression::kernels
