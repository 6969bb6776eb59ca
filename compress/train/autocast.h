#pragma once
// Mixed precision, for the length of a scope.

#include <torch/types.h>

#include "compress/train/config.h"  // Precision

namespace compression {

/// Whether `precision` means bfloat16 on this device: automatic does where it has bf16 arithmetic.
bool uses_bfloat16(Precision precision, torch::Device device);

/// Runs LibTorch's autocast to bfloat16 while it lives, if `enabled`. Parameters cast on the way are forgotten at its
/// end.
class Autocast {
 public:
  Autocast(bool enabled, torch::Device device);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  torch::DeviceType device_;
  bool before_;
};

}  // namespace compression
