#pragma once
// How matrices of weights are kept: the tensors that a file has of one, how they are made of floats and read as floats
// again, how they are packed to be multiplied, and unpacked. A kind of storage is one class; nothing else knows what a
// kind is made of.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/base/host_tensor.h"    // HostTensor, LazyTensor
#include "compress/base/weight_format.h"  // WeightFormat
#include "compress/kernels/linear.h"      // LinearWeight

namespace compression {

/// A tensor of a matrix of weights. Its first axis is that of the matrix's rows.
struct StoredPart {
  std::string_view name;  // behind that of the module: "weight", "weight_scale"
  DType dtype;
  std::vector<int64_t> shape;
  float fill;  // what stands in rows that are all 0; of float32 where it is not 0
};

struct MatrixSize {
  int64_t rows = 0, columns = 0;

  bool operator==(const MatrixSize&) const = default;
};

/// A module's tensors by their names behind its own; undefined where there is none.
using PartOf = std::function<LazyTensor(std::string_view name)>;

/// A matrix [rows, columns] of weights: a linear layer's [out, in], or an embedding table's. Immutable; copies share
/// the numbers.
struct StoredMatrix {
  WeightFormat format = WeightFormat::float32;
  MatrixSize size = {};
  std::vector<HostTensor> parts = {};  // as Storage::parts() lists them

  bool present() const { return !parts.empty(); }
  int64_t rows() const { return size.rows; }
  int64_t columns() const { return size.columns; }

  /// Rows [first, last), without a copy.
  StoredMatrix rows(int64_t first, int64_t last) const;
};

/// A kind of storage. Objects are immutable and shared by threads.
class Storage {
 public:
  virtual ~Storage() = default;

  virtual WeightFormat format() const = 0;

  /// In config.json and in messages.
  virtual std::string_view name() const;

  /// Whether products quantize what they read too, as an ActivationScheme says. config.json tells both in its
  /// quantization_config then; of other kinds it has the name.
  virtual bool quantizes_inputs() const { return false; }

  /// The tensors that a file has of a matrix.
  virtual std::vector<StoredPart> parts(int64_t rows, int64_t columns) const = 0;

  /// Whether each number is the product of those that the parts have for it, a part of one column having one for the
  /// row: LibTorch's operators widen such a matrix themselves, on any device and in a file of TorchScript.
  virtual bool is_product() const { return false; }

  /// The size of the matrix that the tensors are of, as their names, dtypes and numbers of axes tell; nothing where
  /// they are none of this kind's.
  virtual std::optional<MatrixSize> matrix_size(const PartOf& part) const = 0;

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

/// Every kind that there is.
const std::vector<const Storage*>& storages();

/// Adds a kind of the program's own, with a format() and a name() that no other has: before models are made or opened,
/// since no other thread may ask for kinds meanwhile. It stays where it is.
void add_storage(const Storage& kind);

/// Throws std::logic_error for a format that no kind has.
const Storage& storage_of(WeightFormat format);

/// The kind that a module's tensors are of, as the kinds themselves say (Storage::matrix_size()): of several, that with
/// most tensors. Null where they are of none.
const Storage* kind_of(const PartOf& part);

/// The matrix of a module's tensors, which are read. Throws CheckpointError, which calls the module `name`, where they
/// are of no kind, or one is missing or does not fit.
StoredMatrix stored_matrix(const std::string& name, const PartOf& part);

/// float32 [rows, columns].
HostTensor to_floats(const StoredMatrix& matrix);
void to_floats(const StoredMatrix& matrix, float* to);

/// Matrices of as many columns as one: the rows of each begin at a multiple of `panel`, and rows of zeros follow.
/// float32 where they are of several formats. Each is let go of when it has been copied.
StoredMatrix stacked(std::vector<StoredMatrix> matrices, int64_t panel);

}  // namespace compression
