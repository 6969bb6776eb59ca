#pragma once
// Which linear layers become int8, and which stay float32 because they lose too much.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "compress/evaluate/evaluate.h"  // Evaluation
#include "quantize/convert.h"            // Formats

namespace compression::quantize {

/// Evaluates a model on the validation data.
using Evaluate = std::function<Evaluation(Model&)>;

/// Names in the checkpoint of the linear layers of a model that is not there yet, whatever the sizes of its layers.
std::vector<std::string> layer_names(const ModelConfig& config);

/// An empty text where each pattern matches one of the names, else which does not, and what was expected.
std::string unmatched(const std::vector<std::string>& names, const std::vector<std::string>& patterns);

/// Linear layers by shell patterns on their names in the checkpoint: "*.output.dense", "bert.encoder.layer.0.*". Throws
/// ConfigError if a pattern matches none.
std::vector<std::string> matching_layers(Model model, const std::vector<std::string>& patterns);

struct LayerSensitivity {
  std::string layer;
  Evaluation evaluation;  // of the model with this layer alone in int8
  int64_t bytes_saved = 0;
};

/// Quantizes each linear layer alone, and evaluates. The layers that lose most come first.
std::vector<LayerSensitivity> measure_sensitivity(Model model, const Formats& formats, const Evaluate& evaluate);

struct Trial {
  std::vector<std::string> unquantized;
  Evaluation evaluation;
};

struct MixedPrecision {
  Model model{nullptr};
  std::vector<LayerSensitivity> sensitivity;  // empty where all layers could be int8
  std::vector<Trial> trials;                  // in the order of trying
};

/// As many layers in int8 as the bound allows: `model`'s metric may get worse by `max_drop`. If not all can be, the
/// most sensitive stay float32: so many of them as a binary search finds, and of these each that the bound allows
/// becomes int8 after all. `formats.unquantized` stay in any case.
MixedPrecision quantize_within(Model model, const Formats& formats, double max_drop, const Evaluate& evaluate);

/// Whether a change that is made to the quantized model afterwards can stay: it is within the bound from the original,
/// or no worse than without.
bool bound_holds(const Evaluation& changed, const Evaluation& quantized, const Evaluation& original, double max_drop);

nlohmann::json sensitivity_json(const std::vector<LayerSensitivity>& sensitivity);
nlohmann::json trials_json(const std::vector<Trial>& trials);

}  // namespace compression::quantize
