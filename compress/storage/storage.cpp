#include "compress/storage/storage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "compress/base/error.h"       // CheckpointError
#include "compress/base/fields.h"      // enum_name
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

/// A line a kind.
std::vector<const Storage*>& all_kinds() {
  static std::vector<const Storage*> kinds{
      &float_storage(WeightFormat::float32),
      &float_storage(WeightFormat::float16),
      &float_storage(WeightFormat::bfloat16),
      &int8_row_storage(),
  };
  return kinds;
}

}  // namespace

std::string_view Storage::name() const {
  return enum_name(format());
}

const std::vector<const Storage*>& storages() {
  return all_kinds();
}

void add_storage(const Storage& kind) {
  all_kinds().push_back(&kind);
}

const Storage& storage_of(WeightFormat format) {
  for (const auto* kind : all_kinds()) {
    if (kind->format() == format) return *kind;
  }
  throw std::logic_error("a weight format that no kind of storage has");
}

const Storage* kind_of(const PartOf& part) {
  const Storage* found = nullptr;
  size_t most = 0;
  for (const auto* kind : all_kinds()) {
    const auto size = kind->matrix_size(part);
    if (!size) continue;
    const auto count = kind->parts(size->rows, size->columns).size();
    if (count > most) std::tie(found, most) = std::pair(kind, count);
  }
  return found;
}

StoredMatrix stored_matrix(const std::string& name, const PartOf& part) {
  const auto* kind = kind_of(part);
  if (kind == nullptr) throw CheckpointError(name + ": found a weight that is of no kind of storage");
  StoredMatrix matrix{.format = kind->format(), .size = kind->matrix_size(part).value()};
  for (const auto& expected : kind->parts(matrix.rows(), matrix.columns())) {
    const auto found = part(expected.name);
    if (!found.defined()) throw CheckpointError(fmt::format("the tensor {}.{} is missing", name, expected.name));
    if (found.dtype != expected.dtype || found.shape != expected.shape) {
      throw CheckpointError(fmt::format("{}.{}: found {} [{}], expected {} [{}]", name, expected.name,
                                        enum_name(found.dtype), fmt::join(found.shape, ", "), enum_name(expected.dtype),
                                        fmt::join(expected.shape, ", ")));
    }
    matrix.parts.push_back(found.read());
  }
  return matrix;
}

StoredMatrix StoredMatrix::rows(int64_t first, int64_t last) const {
  StoredMatrix result{.format = format, .size = {last - first, size.columns}};
  for (const auto& part : parts) result.parts.push_back(some_rows(part, first, last));
  return result;
}

HostTensor to_floats(const StoredMatrix& matrix) {
  auto [floats, memory] = new_tensor(DType::float32, {matrix.rows(), matrix.columns()});
  to_floats(matrix, reinterpret_cast<float*>(memory));
  return floats;
}

void to_floats(const StoredMatrix& matrix, float* to) {
  std::fill_n(to, matrix.rows() * matrix.columns(), -0.0f);  // to which every number may be added, and stays what it is
  const auto& storage = storage_of(matrix.format);
  for (int64_t row = 0; row < matrix.rows(); ++row) storage.add_row(matrix, row, to + row * matrix.columns());
}

StoredMatrix stacked(std::vector<StoredMatrix> matrices, int64_t panel) {
  const auto format = matrices.front().format;
  if (std::ranges::any_of(matrices, [&](const StoredMatrix& each) { return each.format != format; })) {
    for (auto& each : matrices) {
      each = {.format = WeightFormat::float32, .size = each.size, .parts = {to_floats(each)}};
    }
  }
  const auto padded = [&](const StoredMatrix& each) { return kernels::divide_up(each.rows(), panel) * panel; };
  StoredMatrix all{.format = matrices.front().format, .size = {0, matrices.front().columns()}};
  for (const auto& each : matrices) all.size.rows += padded(each);
  std::vector<char*> to;
  for (const auto& part : storage_of(all.format).parts(all.rows(), all.columns())) {
    auto [tensor, memory] = new_tensor(part.dtype, part.shape);
    if (part.fill != 0.0f) std::fill_n(reinterpret_cast<float*>(memory), tensor.count(), part.fill);
    all.parts.push_back(std::move(tensor));
    to.push_back(memory);
  }
  for (auto& each : matrices) {
    for (size_t i = 0; i < to.size(); ++i) {
      const auto row_bytes = all.parts[i].bytes() / std::max<int64_t>(all.rows(), 1);
      std::copy_n(each.parts[i].as<char>(), each.parts[i].bytes(), to[i]);
      to[i] += padded(each) * row_bytes;
    }
    each.parts.clear();
  }
  return all;
}

}  // namespace compression
