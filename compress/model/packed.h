#pragma once
// A model as the fused runtime takes it (compress/engine/network_state.h), and a model of fewer bits at work in that
// form.

#include <torch/nn/module.h>

#include "compress/model/derived.h"  // Derived
#include "compress/ops/encoder.h"    // Encoder, EncoderState
#include "compress/spec/config.h"    // ModelConfig

namespace compression {

/// network_state() of the model, whose tensors they are.
ops::EncoderState packed_state(const torch::nn::Module& model, const ModelConfig& config);

/// A model's encoder, with the head of one label a text, packed for the machine; anew when a tensor has changed. What a
/// folder of int8 or 16-bit weights is evaluated with is then, bit for bit, what its fused file computes.
class PackedModel {
 public:
  std::shared_ptr<const ops::Encoder> of(const torch::nn::Module& model, const ModelConfig& config);

 private:
  Derived<std::shared_ptr<const ops::Encoder>> packed_;
};

}  // namespace compression
