#pragma once
// Our model as the fused runtime takes it.

#include "compress/model/model.h"  // Model
#include "compress/ops/encoder.h"  // EncoderState

namespace compression::exporter {

/// Throws UnsupportedError where the runtime has no kernels for what the model computes.
ops::EncoderState encoder_state(const Model& model);

}  // namespace compression::exporter
