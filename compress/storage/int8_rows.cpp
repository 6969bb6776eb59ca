#include <algorithm>
#include <cmath>

#include "compress/kernels/sparse_choice.h"  // sparse_choice
#include "compress/storage/kinds.h"

namespace compression {
namespace {

/// Symmetric quantization of each row by its largest magnitude: scale = max|row| / 127, values = round(row / scale),
/// ties to even, from -127 to 127; a row of zeros has scale 1. Of a linear layer's weight [out, in] that is per output
/// channel, of an embedding table per token.
class Int8RowStorage : public Storage {
 public:
  WeightFormat format() const override { return WeightFormat::int8; }

  bool quantizes_inputs() const override { return true; }

  bool is_product() const override { return true; }

  std::vector<StoredPart> parts(int64_t rows, int64_t columns) const override {
    return {{"weight", DType::int8, {rows, columns}, 0.0f}, {"weight_scale", DType::float32, {rows, 1}, 1.0f}};
  }

  std::optional<MatrixSize> matrix_size(const PartOf& part) const override {
    const auto weight = part("weight");
    if (!weight.defined() || weight.dtype != DType::int8 || weight.shape.size() != 2) return std::nullopt;
    return MatrixSize{weight.shape[0], weight.shape[1]};
  }

  StoredMatrix from_floats(const float* values, int64_t rows, int64_t columns) const override {
    auto [integers, integer_memory] = new_tensor(DType::int8, {rows, columns});
    auto [scale, scale_memory] = new_tensor(DType::float32, {rows, 1});
    auto* to = reinterpret_cast<int8_t*>(integer_memory);
    auto* scales = reinterpret_cast<float*>(scale_memory);
    for (int64_t row = 0; row < rows; ++row, values += columns, to += columns) {
      float largest = 0.0f;
      for (int64_t c = 0; c < columns; ++c) largest = std::max(largest, std::abs(values[c]));
      const float own = largest / 127.0f;
      scales[row] = own == 0.0f ? 1.0f : own;
      for (int64_t c = 0; c < columns; ++c) {
        to[c] = static_cast<int8_t>(std::clamp(std::nearbyint(values[c] / scales[row]), -127.0f, 127.0f));
      }
    }
    return {.format = format(), .size = {rows, columns}, .parts = {std::move(integers), std::move(scale)}};
  }

  void add_row(const StoredMatrix& matrix, int64_t row, float* to) const override {
    const auto width = matrix.columns();
    const auto* values = matrix.parts[0].as<int8_t>() + row * width;
    kernels::add_row(DType::int8, values, matrix.parts[1].as<float>()[row], width, to);
  }

  kernels::LinearWeight pack(const StoredMatrix& matrix, const float* bias) const override {
    kernels::LinearWeight result;
    kernels::pack_linear(kernels::Number::int8, matrix.parts[0].data.get(), matrix.parts[1].as<float>(), bias,
                         matrix.rows(), matrix.columns(), result);
    result.stored = format();
    leave_out_zeros(matrix, result);
    return result;
  }

  StoredMatrix unpack(const kernels::LinearWeight& weight) const override {
    auto [values, memory] = new_tensor(DType::int8, {weight.out, weight.in});
    kernels::unpack_linear(weight, memory);
    auto [scale, scales] = new_tensor(DType::float32, {weight.out, 1});
    std::copy_n(weight.scale.data(), weight.out, reinterpret_cast<float*>(scales));
    return {.format = format(), .size = {weight.out, weight.in}, .parts = {std::move(values), std::move(scale)}};
  }

 private:
  /// The form without zeros as well, where it is faster on this machine.
  static void leave_out_zeros(const StoredMatrix& matrix, kernels::LinearWeight& weight) {
    const auto* values = matrix.parts[0].as<int8_t>();
    const auto density = kernels::sparse_density(values, weight.out, weight.in);
    const auto choice = kernels::sparse_choice(weight.out, weight.in, density);
    if (choice.fewest_rows == 0) return;
    kernels::pack_sparse(values, weight.out, weight.in, weight);
    weight.sparse.fewest_rows = choice.fewest_rows;
  }
};

}  // namespace

const Storage& int8_row_storage() {
  static const Int8RowStorage storage;
  return storage;
}

}  // namespace compression
