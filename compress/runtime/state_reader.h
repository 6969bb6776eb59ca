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

  bool has(const std::string& name) const { return state_.tensors.contains(name); }
  HostTensor tensor(const std::string& name, const std::vector<int64_t>& shape) const;
  HostTensor floats(const std::string& name, const std::vector<int64_t>& shape) const;
  HostTensor of_type(const std::string& name, const std::vector<int64_t>& shape, DType type) const;
  /// Rows and columns of a matrix.
  std::pair<int64_t, int64_t> matrix(const std::string& name) const;
  int64_t rows(const std::string& name, int64_t least = 0) const;

  /// Takes a linear layer's weight out of the state, which need not keep its numbers once they are packed.
  void drop(const std::string& linear) { state_.tensors.erase(linear + ".weight"); }

 private:
  double number(const std::string& name) const;

  EncoderState& state_;
};

}  // namespace compression::runtime
