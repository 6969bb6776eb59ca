#pragma once
// How matrices of weights are kept: the tensors that a file has of one, how they are made of floats and read as floats
// again, how they are packed to be multiplied, and unpacked. A kind of storage is one class; nothing else knows what a
// kind is made of.

#include <cstdint>
#include <string_view>
#include <vector>

#include "compress/base/host_tensor.h"    // HostTensor
#include "compress/base/weight_format.h"  // WeightFormat
#include "compress/kernels/linear.h"      // LinearWeight

namespace compression {

/// A tensor of a matrix of weights. Its first axis is that of the matrix's rows.
struct StoredPart {
  std::string_view name;  // behind that of the module: "weight", "weight_scale"
  DType dtype;
  std::vector<int64_t> shape;
  float fill;  // what stands in rows that are all 0
};

/// A matrix [rows, columns] of weights: a linear layer's [out, in], or an embedding table's. Immutable; copies share
/// the numbers.
struct StoredMatrix {
  WeightFormat format = WeightFormat::float32;
  std::vector<HostTensor> parts;  // as Storage::parts() lists them, the first with a shape of [rows, columns]

  bool present() const { return !parts.empty(); }
  int64_t rows() const { return parts.front().size(0); }
  int64_t columns() const { return parts.front().size(1); }

  /// Rows [first, last), without a copy.
  StoredMatrix rows(int64_t first, int64_t last) const;
};

/// A kind of storage. Objects are immutable and shared by threads.
class Storage {
 public:
  virtual ~Storage() = default;

  /// The tensors that a file has of a matrix, the first of them NAME.weight.
  virtual std::vector<StoredPart> parts(int64_t rows, int64_t columns) const = 0;

  /// The nearest to float32 [rows, columns], ties to even. A number that is too large becomes an infinity, where the
  /// kind has any.
  virtual StoredMatrix from_floats(const float* values, int64_t rows, int64_t columns) const = 0;

  /// to[c] += the matrix's number at [row, c]; to: float32 [columns].
  virtual void add_row(const StoredMatrix& matrix, int64_t row, float* to) const = 0;

  /// To be multiplied on this machine, by numbers of the kind or by wider ones; bias: float32 [rows], or null: 0.
  virtual kernels::LinearWeight pack(const StoredMatrix& matrix, const float* bias) const = 0;

  /// The inverse, bit by bit.
  virtual StoredMatrix unpack(const kernels::LinearWeight& weight) const = 0;
};

const Storage& storage_of(WeightFormat format);

/// The matrix of the tensor NAME.weight, whose dtype tells the kind, and of the others that belong to it, which
/// `part(name)` gives. Throws std::bad_optional_access for a dtype that no weights have.
template <class Part>
StoredMatrix stored_matrix(const HostTensor& weight, Part&& part) {
  StoredMatrix matrix{.format = format_of(weight.dtype).value(), .parts = {}};
  for (const auto& kind : storage_of(matrix.format).parts(weight.size(0), weight.size(1))) {
    matrix.parts.push_back(matrix.parts.empty() ? weight : part(kind.name));
  }
  return matrix;
}

/// float32 [rows, columns].
HostTensor to_floats(const StoredMatrix& matrix);

/// Matrices of as many columns as one: the rows of each begin at a multiple of `panel`, and rows of zeros follow.
/// float32 where they are of several formats.
StoredMatrix stacked(std::vector<StoredMatrix> matrices, int64_t panel);

}  // namespace compression
