#pragma once
// Mixed precision, for the length of a scope.

#include <torch/types.h>

#include <optional>

#include "compress/model/layers.h"  // Arithmetic
#include "compress/train/config.h"  // Precision

namespace compression {

/// What a run's matrix products are made with on a device: never Precision::automatic. Throws ConfigError for int16 on
/// a device that is not the CPU.
Precision resolve_precision(const TrainConfig& config, torch::Device device);

/// What autocast computes in: kBFloat16, kHalf, or nothing for the rest.
std::optional<torch::Dtype> autocast_dtype(Precision precision);

/// What the fused form of the model computes with (model/fused.h); nothing where LibTorch's operators are to be used.
std::optional<Arithmetic> fused_arithmetic(const TrainConfig& config, torch::Device device);

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
