#pragma once
// SmoothQuant (Xiao et al., arXiv 2211.10438): activations whose features have about the same range lose less in int8.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/evaluate/inputs.h"  // each_input
#include "quantize/convert.h"          // Formats
#include "quantize/observer.h"         // ObserverOptions

namespace compression::quantize {

struct SmoothedLayer {
  std::string layer;                 // the one that reads the smoothed activations
  double strength = 0.0;             // 0: left as it was
  double error = 0.0, before = 0.0;  // of its output in int8, with this strength and with none: squared, relative
};

/// Divides feature j of what a linear layer reads by s_j = max|X_j|^strength / max|W_j|^(1 - strength), and multiplies
/// column j of its weight W by it; X is of the calibration texts. The division is done by what makes the feature, so
/// the float32 model computes the same as before: value makes what attention_output reads, since attention mixes
/// tokens and not features; and intermediate what output reads, where the activation is ReLU. LayerNorm and GELU allow
/// none. Layers that share weights are smoothed once. Without `strength`, each layer has that of 0, 0.1, ... 0.9 whose
/// output in int8, as `formats` and `observer` say, has the least squared error on a sample of the texts' tokens.
/// Layers of `formats.unquantized` stay. Throws DataError if there are no texts; Interrupted; as
/// require_layers().
std::vector<SmoothedLayer> smooth(Model& model, const Formats& formats, const ObserverOptions& observer,
                                  std::optional<double> strength, const BatchSource& texts, const Context& context);

nlohmann::json smoothing_json(const std::vector<SmoothedLayer>& layers);

}  // namespace compression::quantize
