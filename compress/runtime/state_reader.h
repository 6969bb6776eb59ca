#pragma once
// What is asked of an encoder's state by name, held against what is expected.

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/base/error.h"             // CheckpointError
#include "compress/runtime/encoder_state.h"  // EncoderState
#include "compress/storage/storage.h"        // Storage, MatrixSize, PartOf

namespace compression::runtime {

/// Throws CheckpointError.
template <class... Values>
[[noreturn]] void refuse(fmt::format_string<Values...> format, Values&&... values) {
  throw CheckpointError("compress.Encoder: " + fmt::format(format, std::forward<Values>(values)...));
}

/// As LibTorch calls it, which writes these files.
std::string_view type_name(DType type);

class StateReader {
 public:
  explicit StateReader(EncoderState& state) : state_(state) {}

  double real(const std::string& name, double least, double most) const;
  int64_t integer(const std::string& name, int64_t least, int64_t most) const;
  bool flag(const std::string& name) const;  // 0 or 1; absent: false

  bool has_number(const std::string& name) const { return state_.numbers.contains(name); }
  bool has(const std::string& name) const { return state_.tensors.contains(name); }
  HostTensor floats(const std::string& name, const std::vector<int64_t>& shape) const;
  HostTensor of_type(const std::string& name, const std::vector<int64_t>& shape, DType type) const;

  /// A module's matrix, by the name of the module; its parts are as a state has them (plain_linear.h).
  bool has_matrix(const std::string& module) const {
    return kind_of(parts(module)) != nullptr || has(module + ".weight");
  }
  MatrixSize matrix_size(const std::string& module) const;
  int64_t rows(const std::string& module, int64_t least = 0) const;
  const Storage& kind(const std::string& module) const;

  /// Takes a module's matrix out of the state, which need not keep its numbers once they are packed.
  void drop(const std::string& module);

 private:
  double number(const std::string& name) const;
  PartOf parts(const std::string& module) const;

  EncoderState& state_;
};

}  // namespace compression::runtime
