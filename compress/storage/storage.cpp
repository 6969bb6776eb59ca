#include "compress/storage/storage.h"

#include <algorithm>
#include <memory>

#include "compress/kernels/threads.h"  // divide_up
#include "compress/storage/kinds.h"

namespace compression {
namespace {

/// A part of a tensor's rows, which keeps all of it alive.
HostTensor some_rows(const HostTensor& tensor, int64_t first, int64_t last) {
  auto part = tensor;
  part.shape.front() = last - first;
  const auto row_bytes = tensor.size(0) == 0 ? 0 : tensor.bytes() / tensor.size(0);
  part.data = std::shared_ptr<const void>(tensor.data, tensor.as<char>() + first * row_bytes);
  return part;
}

}  // namespace

const Storage& storage_of(WeightFormat format) {
  return format == WeightFormat::int8 ? int8_row_storage() : float_storage(format);
}

StoredMatrix StoredMatrix::rows(int64_t first, int64_t last) const {
  StoredMatrix result{.format = format, .parts = {}};
  for (const auto& part : parts) result.parts.push_back(some_rows(part, first, last));
  return result;
}

HostTensor to_floats(const StoredMatrix& matrix) {
  const auto rows = matrix.rows(), columns = matrix.columns();
  auto [floats, memory] = new_tensor(DType::float32, {rows, columns});
  auto* to = reinterpret_cast<float*>(memory);
  std::fill_n(to, rows * columns, -0.0f);  // to which every number may be added, and stays what it is
  const auto& storage = storage_of(matrix.format);
  for (int64_t row = 0; row < rows; ++row) storage.add_row(matrix, row, to + row * columns);
  return floats;
}

StoredMatrix stacked(std::vector<StoredMatrix> matrices, int64_t panel) {
  const auto format = matrices.front().format;
  if (std::ranges::any_of(matrices, [&](const StoredMatrix& each) { return each.format != format; })) {
    for (auto& each : matrices) each = {.format = WeightFormat::float32, .parts = {to_floats(each)}};
  }
  StoredMatrix all{.format = matrices.front().format, .parts = {}};
  const auto padded = [&](const StoredMatrix& each) { return kernels::divide_up(each.rows(), panel) * panel; };
  int64_t rows = 0;
  for (const auto& each : matrices) rows += padded(each);
  for (const auto& kind : storage_of(all.format).parts(rows, matrices.front().columns())) {
    auto [tensor, memory] = new_tensor(kind.dtype, kind.shape);
    if (kind.fill != 0.0f) std::fill_n(reinterpret_cast<float*>(memory), tensor.count(), kind.fill);
    const auto row_bytes = tensor.bytes() / std::max<int64_t>(rows, 1);
    for (const auto& each : matrices) {
      const auto& from = each.parts[all.parts.size()];
      std::copy_n(from.as<char>(), from.bytes(), memory);
      memory += padded(each) * row_bytes;
    }
    all.parts.push_back(std::move(tensor));
  }
  return all;
}

}  // namespace compression
