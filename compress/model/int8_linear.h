#pragma once
// LibTorch's int8 linear operator. Quantized tensor types are deprecated upstream: they are seen in this file alone.

#include <ATen/core/ivalue.h>
#include <torch/types.h>

#include "compress/model/config.h"  // ActivationScheme

namespace compression {

/// An int8 weight packed for this machine.
class PackedInt8 {
 public:
  PackedInt8() = default;

  /// values: int8 [out, in]; scale: float32 [out, 1], symmetric per output channel.
  PackedInt8(const torch::Tensor& values, const torch::Tensor& scale);

  bool empty() const { return packed_.isNone(); }

  /// x: float32 [..., in] -> float32 [..., out], without bias. Activations are quantized at run time:
  /// per_tensor with one affine scale for all of x; per_token with a symmetric scale of its own for each row. The operator
  /// knows one scale only: each row is divided by its largest magnitude, and a row of ones and one of minus ones are added,
  /// so that the operator's range is [-1, 1] whatever the other rows hold.
  torch::Tensor linear(const torch::Tensor& x, ActivationScheme scheme) const;

  /// What TorchScript holds as an attribute and passes to ops.quantized.linear_dynamic.
  const c10::IValue& value() const { return packed_; }

  /// linear_dynamic's reduce_range: seven bits for activations, because the AVX2 kernels add pairs of products in 16 bits.
  static constexpr bool reduce_range = true;

  /// Smallest row maximum that per_token divides by.
  static constexpr double smallest_scale = 1e-12;

 private:
  c10::IValue packed_;
};

/// Name of the engine behind the operator: "x86", "onednn", "fbgemm", "qnnpack".
std::string int8_engine();

}  // namespace compression
