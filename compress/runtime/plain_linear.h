#pragma once
// A linear layer as an encoder's state has it, and as it is multiplied.

#include <cstdint>
#include <string>
#include <vector>

#include "compress/kernels/linear.h"        // LinearWeight
#include "compress/runtime/state_reader.h"  // StateReader
#include "compress/storage/storage.h"       // StoredMatrix

namespace compression::runtime {

/// The parts of a module's matrix as a state has them: of linear layers, those behind the first that are [rows, 1] are
/// [rows].
enum class MatrixOf { linear, table };
std::vector<StoredPart> parts_in_state(const Storage& kind, const MatrixSize& size, MatrixOf what);

/// A module's matrix, of its own kind of storage. Throws CheckpointError that names what is missing or does not fit.
StoredMatrix read_matrix(const StateReader& reader, const std::string& name, int64_t rows, int64_t columns,
                         MatrixOf what);
void write_matrix(EncoderState& state, const std::string& name, const StoredMatrix& matrix, MatrixOf what);

struct PlainLinear {
  StoredMatrix weight;       // [out, in]
  HostTensor bias;           // [out], or undefined
  float input_scale = 0.0f;  // of int8; 0: measured for each row

  /// Rows [first, last), of the weight without a copy.
  PlainLinear rows(int64_t first, int64_t last) const;
};

PlainLinear read_linear(const StateReader& reader, const std::string& name, int64_t out, int64_t in);
void write_linear(EncoderState& state, const std::string& name, const PlainLinear& linear);

/// Several that read the same input as one: the rows of each begin at a multiple of `panel`, and zeros follow. float32
/// where they are of several types. `names`: of them all. Each weight is let go of when it has been copied.
PlainLinear joined(const std::string& names, std::vector<PlainLinear> parts, int64_t panel);

/// As it is multiplied on this machine: with its own numbers, or with wider ones.
kernels::LinearWeight packed(const PlainLinear& linear);
PlainLinear unpacked(const kernels::LinearWeight& weight);

}  // namespace compression::runtime
