#pragma once
// Mixed precision, for the length of a scope.

#include <torch/types.h>

#include <optional>

#include "compress/train/config.h"  // Precision

namespace compression {

/// What autocast computes in: kBFloat16, kHalf, or nothing for float32. automatic means bfloat16 on a device that has
/// arithmetic for it.
std::optional<torch::Dtype> autocast_dtype(Precision precision, torch::Device device);

/// Runs LibTorch's autocast to `dtype` while it lives; without a dtype, everything in it is computed as it is stored.
/// Parameters cast on the way are forgotten at its end.
class Autocast {
 public:
  Autocast(std::optional<torch::Dtype> dtype, torch::Device device);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  torch::DeviceType device_;
  bool was_enabled_;
  torch::Dtype dtype_before_;
};

}  // namespace compression
