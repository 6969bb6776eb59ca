#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>

#include "compress/kernels/bfloat16_choice.h"  // bfloat16_choice
#include "compress/storage/kinds.h"

namespace compression {
namespace {

using kernels::Number;

/// IEEE 754's binary16, ties to even.
uint16_t float16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFF;
  const auto sign = bits >> 16 & 0x8000;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));  // NaN
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);  // rounds to more than 65504
  if (magnitude < 0x38800000) {                                              // a multiple of 2^-24
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(std::ldexp(std::abs(value), 24))));
  }
  const auto rebased = magnitude - (112u << 23);
  return static_cast<uint16_t>(sign | (rebased + 0xFFF + (rebased >> 13 & 1)) >> 13);
}

/// The upper half of a float32, ties to even.
uint16_t bfloat16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

class FloatStorage : public Storage {
 public:
  explicit FloatStorage(WeightFormat format) : format_(format) {}

  std::vector<StoredPart> parts(int64_t rows, int64_t columns) const override {
    return {{"weight", dtype_of(format_), {rows, columns}, 0.0f}};
  }

  StoredMatrix from_floats(const float* values, int64_t rows, int64_t columns) const override {
    auto [tensor, memory] = new_tensor(dtype_of(format_), {rows, columns});
    const auto* end = values + rows * columns;
    auto* halves = reinterpret_cast<uint16_t*>(memory);
    switch (format_) {
      case WeightFormat::float32:
        std::copy(values, end, reinterpret_cast<float*>(memory));
        break;
      case WeightFormat::float16:
        std::transform(values, end, halves, float16_of);
        break;
      case WeightFormat::bfloat16:
        std::transform(values, end, halves, bfloat16_of);
        break;
      case WeightFormat::int8:
        throw std::logic_error("int8 is no kind of floats");
    }
    return {.format = format_, .parts = {std::move(tensor)}};
  }

  void add_row(const StoredMatrix& matrix, int64_t row, float* to) const override {
    const auto& values = matrix.parts[0];
    const auto width = matrix.columns();
    kernels::add_row(values.dtype, values.as<char>() + row * width * size_of(values.dtype), 1.0f, width, to);
  }

  /// float16 is multiplied as float32, and so is bfloat16 where that is faster.
  kernels::LinearWeight pack(const StoredMatrix& matrix, const float* bias) const override {
    const auto columns = matrix.columns();
    const auto number = format_ == WeightFormat::bfloat16 ? kernels::bfloat16_choice(columns).number : Number::float32;
    const bool wider = number == Number::float32 && format_ != WeightFormat::float32;
    const auto values = wider ? to_floats(matrix) : matrix.parts[0];
    kernels::LinearWeight result;
    kernels::pack_linear(number, values.data.get(), nullptr, bias, matrix.rows(), columns, result);
    result.stored = format_;
    return result;
  }

  StoredMatrix unpack(const kernels::LinearWeight& weight) const override {
    const bool wider = weight.number == Number::float32;
    auto [values, memory] = new_tensor(wider ? DType::float32 : dtype_of(format_), {weight.out, weight.in});
    kernels::unpack_linear(weight, memory);
    if (!wider || format_ == WeightFormat::float32) return {.format = format_, .parts = {std::move(values)}};
    return from_floats(values.as<float>(), weight.out, weight.in);
  }

 private:
  const WeightFormat format_;
};

}  // namespace

const Storage& float_storage(WeightFormat format) {
  static const FloatStorage float32(WeightFormat::float32), float16(WeightFormat::float16),
      bfloat16(WeightFormat::bfloat16);
  return format == WeightFormat::float16 ? float16 : format == WeightFormat::bfloat16 ? bfloat16 : float32;
}

}  // namespace compression
