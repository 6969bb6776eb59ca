#pragma once
// LibTorch's int8 linear operator. Quantized tensor types are deprecated upstream: they are seen in this file alone.

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include "compress/spec/config.h"  // ActivationScheme

namespace compression {

/// An int8 weight packed for this machine.
class PackedInt8 {
 public:
  PackedInt8() = default;

  /// values: int8 [out, in]; scale: float32 [out, 1], symmetric per output channel.
  PackedInt8(const torch::Tensor& values, const torch::Tensor& scale);

  bool empty() const { return packed_.isNone(); }

  /// x: float32 [..., in] -> float32 [..., out], without bias. Activations are quantized at run time:
  /// per_tensor with one affine scale for all of x; per_token with a symmetric scale of its own for each row. The
  /// operator knows one scale only: each row is divided by its largest magnitude, and two rows are added that fix the
  /// operator's range whatever the other rows hold: to [range_low, 1], which in seven bits is a step of 1/63 around 64.
  torch::Tensor linear(const torch::Tensor& x, ActivationScheme scheme) const;

  /// What TorchScript holds as an attribute and passes to ops.quantized.linear_dynamic.
  const c10::IValue& value() const { return packed_; }

  /// linear_dynamic's reduce_range: seven bits for activations, because the AVX2 kernels add pairs of products in 16
  /// bits.
  static constexpr bool reduce_range = true;

  static constexpr double range_low = -64.0 / 63.0;

  /// Smallest row maximum that per_token divides by.
  static constexpr double smallest_scale = 1e-12;

 private:
  c10::IValue packed_;
};

/// While it lives, LibTorch's warnings are dropped: once a process it tells that quantized tensor types will go, which
/// is not for users to act on.
class IgnoreWarnings : public c10::WarningHandler {
 public:
  IgnoreWarnings() : guard_(this) {}
  void process(const c10::Warning&) override {}

 private:
  c10::WarningUtils::WarningHandlerGuard guard_;
};

}  // namespace compression
