#include <algorithm>
#include <array>
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
  FloatStorage(WeightFormat format, DType dtype) : format_(format), dtype_(dtype) {}

  WeightFormat format() const override { return format_; }

  bool is_product() const override { return true; }

  std::vector<StoredPart> parts(int64_t rows, int64_t columns) const override {
    return {{"weight", dtype_, {rows, columns}, 0.0f}};
  }

  std::optional<MatrixSize> matrix_size(const PartOf& part) const override {
    const auto weight = part("weight");
    if (!weight.defined() || weight.dtype != dtype_ || weight.shape.size() != 2) return std::nullopt;
    return MatrixSize{weight.shape[0], weight.shape[1]};
  }

  StoredMatrix from_floats(const float* values, int64_t rows, int64_t columns) const override {
    auto [tensor, memory] = new_tensor(dtype_, {rows, columns});
    const auto* end = values + rows * columns;
    if (dtype_ == DType::float32) {
      std::copy(values, end, reinterpret_cast<float*>(memory));
    } else {
      auto* halves = reinterpret_cast<uint16_t*>(memory);
      std::transform(values, end, halves, dtype_ == DType::float16 ? float16_of : bfloat16_of);
    }
    return {.format = format_, .size = {rows, columns}, .parts = {std::move(tensor)}};
  }

  void add_row(const StoredMatrix& matrix, int64_t row, float* to) const override {
    const auto& values = matrix.parts[0];
    const auto width = matrix.columns();
    kernels::add_row(values.dtype, values.as<char>() + row * width * size_of(values.dtype), 1.0f, width, to);
  }

  /// float16 is multiplied as float32, and so is bfloat16 unless its own products are faster.
  kernels::LinearWeight pack(const StoredMatrix& matrix, const float* bias) const override {
    const auto rows = matrix.rows(), columns = matrix.columns();
    const auto& values = matrix.parts[0];
    kernels::LinearWeight result;
    if (format_ == WeightFormat::bfloat16 && kernels::bfloat16_choice(columns).number == Number::bfloat16) {
      kernels::pack_linear(Number::bfloat16, values.data.get(), nullptr, bias, rows, columns, result);
    } else {
      kernels::pack_floats(values.dtype, values.data.get(), bias, rows, columns, result);
    }
    result.stored = format_;
    return result;
  }

  StoredMatrix unpack(const kernels::LinearWeight& weight) const override {
    auto [values, memory] = new_tensor(weight.dtype, {weight.out, weight.in});
    kernels::unpack_linear(weight, memory);
    return {.format = format_, .size = {weight.out, weight.in}, .parts = {std::move(values)}};
  }

 private:
  const WeightFormat format_;
  const DType dtype_;
};

}  // namespace

const Storage& float_storage(WeightFormat format) {
  static const std::array<FloatStorage, 3> kinds{FloatStorage(WeightFormat::float32, DType::float32),
                                                 FloatStorage(WeightFormat::float16, DType::float16),
                                                 FloatStorage(WeightFormat::bfloat16, DType::bfloat16)};
  const auto found = std::ranges::find(kinds, format, &FloatStorage::format);
  if (found == kinds.end()) throw std::logic_error("no format of floats");
  return *found;
}

}  // namespace compression
