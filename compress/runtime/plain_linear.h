#pragma once
// A linear layer as an encoder's state has it, and as it is multiplied.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "compress/kernels/linear.h"        // LinearWeight
#include "compress/runtime/state_reader.h"  // StateReader

namespace compression::runtime {

/// Zeros, and where they may be written.
std::pair<HostTensor, char*> new_tensor(DType type, std::vector<int64_t> shape);

/// How a weight or table of that type is stored; throws CheckpointError that names it if it is none of weights.
kernels::Stored stored_as(const std::string& name, DType type);

struct PlainLinear {
  HostTensor weight, scale, bias;  // [out, in]; int8: [out]; [out], or undefined
  float input_scale = 0.0f;        // of int8; 0: measured for each row

  /// Rows [first, last), without a copy.
  PlainLinear rows(int64_t first, int64_t last) const;
};

PlainLinear read_linear(const StateReader& reader, const std::string& name, int64_t out, int64_t in);
void write_linear(std::map<std::string, HostTensor>& tensors, const std::string& name, const PlainLinear& linear);

/// Several that read the same input as one: the rows of each begin at a multiple of `panel`, and zeros follow. float32
/// where they are of several types. `names`: of them all.
PlainLinear joined(const std::string& names, std::vector<PlainLinear> parts, int64_t panel);

/// As it is multiplied on this machine: with its own numbers, or with wider ones.
kernels::LinearWeight packed(const PlainLinear& linear);
PlainLinear unpacked(const kernels::LinearWeight& weight);

}  // namespace compression::runtime
