#pragma once
// The fused runtime's encoder on tensors of LibTorch's.

#include <torch/types.h>

#include <string>

#include "compress/runtime/encoder.h"  // Encoder, EncoderState

namespace compression::ops {

/// As runtime::EncoderState.
struct EncoderState {
  c10::Dict<std::string, at::Tensor> tensors;
  c10::Dict<std::string, double> numbers;
};

/// The same state, over the same memory.
EncoderState torch_state(const runtime::EncoderState& state);

class Encoder {
 public:
  /// Throws c10::Error that names what is missing or does not fit. Tables, norms and biases of positions stay those of
  /// the state.
  explicit Encoder(const EncoderState& state);

  /// The inverse.
  EncoderState state() const;

  /// [batch, sequence] each: ids and types are integers, of the mask what is not 0 counts, as runtime::Encoder says.
  /// float32 [batch, classes]; without a head [batch, hidden], the last layer's output for the first tokens. Throws
  /// c10::Error, c10::IndexError for an id or type that its table does not have. Any number of threads may call it.
  /// What the process has set (default dtype, autocast, gradients, rounding) changes nothing.
  at::Tensor forward(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                     const at::Tensor& token_type_ids) const;

  /// float32 [batch, sequence, hidden], the last layer's output, or [batch, sequence, width] where the head is a dense
  /// layer alone: what comes behind its function. Zero where the mask is.
  at::Tensor last_hidden_state(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                               const at::Tensor& token_type_ids) const;

 private:
  const runtime::Encoder encoder_;
};

}  // namespace compression::ops
