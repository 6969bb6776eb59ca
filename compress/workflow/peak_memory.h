#pragma once
// How much memory a piece of work took.

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace compression {

/// Measures from when it is made. One at a time: the system keeps one peak a process.
class PeakMemory {
 public:
  explicit PeakMemory(torch::Device device);

  /// Peak of the process's resident memory, in bytes. Where the system does not let the peak be reset, that since the
  /// process began. Absent where there is no /proc.
  std::optional<int64_t> host_bytes() const;

  /// Peak of what LibTorch's allocator gave out on the device; absent on the CPU.
  std::optional<int64_t> device_bytes() const;

 private:
  torch::Device device_;
};

}  // namespace compression
