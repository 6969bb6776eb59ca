#pragma once
// Mixed precision, for the length of a scope.

#include <c10/core/InferenceMode.h>
#include <torch/types.h>

#include <optional>

namespace compression {

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
  bool casts_, was_enabled_;
  torch::Dtype dtype_before_;
};

/// While it lives, this thread computes as a process begins: with gradients, without inference mode, without autocast,
/// whatever the caller has set. For algorithms that take gradients, or whose numbers are float32.
class OrdinaryMode {
 public:
  explicit OrdinaryMode(torch::Device device) : none_(std::nullopt, device) {}

 private:
  c10::InferenceMode inference_{false};
  torch::AutoGradMode gradients_{true};
  Autocast none_;
};

}  // namespace compression
