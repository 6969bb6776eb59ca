#pragma once
// Our model as the fused runtime takes it.

#include <string>

#include "compress/model/model.h"  // Model
#include "compress/ops/encoder.h"  // EncoderState

namespace compression::exporter {

/// What of such a model the runtime has no kernels for, "texts of 300000 tokens"; empty if nothing.
std::string fused_lacks(const ModelConfig& config);

/// Throws UnsupportedError, naming the family, where the runtime has no kernels for what the model computes.
ops::EncoderState encoder_state(const Model& model);

}  // namespace compression::exporter
