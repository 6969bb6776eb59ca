#pragma once
// What libcompress_ops.so registers with LibTorch when it is loaded: torch.classes.compress.Encoder, an Encoder that
// TorchScript holds as an attribute and saves. A program that is linked to compress::ops needs no more; others call
// dlopen, or torch.ops.load_library in Python.

#include <ATen/core/ivalue.h>

#include "compress/ops/encoder.h"  // Encoder

namespace compression::ops {

struct EncoderObject : torch::CustomClassHolder {
  explicit EncoderObject(const EncoderState& state) : encoder(state) {}
  const Encoder encoder;
};

/// Throws c10::Error, as Encoder's constructor does.
c10::IValue make_encoder_object(const EncoderState& state);

}  // namespace compression::ops
