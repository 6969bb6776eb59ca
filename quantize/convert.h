#pragma once
// Weights in fewer bits, after training.

#include <map>
#include <string>
#include <vector>

#include "compress/model/model.h"  // Model
#include "quantize/config.h"       // Scheme

namespace compression::quantize {

/// What becomes of a model's weights.
struct Formats {
  WeightFormat linear = WeightFormat::int8;
  WeightFormat embeddings = WeightFormat::int8;
  ActivationScheme activations = ActivationScheme::per_token;  // of int8 linear layers
  std::vector<std::string> unquantized = {};                   // names of Model::named_linears() that stay float32
  std::map<std::string, float> input_scales = {};              // of static activations, by the same names (calibrate.h)
};

/// Throws UnsupportedError if the model's weights are not float32.
void require_float32(const Model& model);

/// Throws ConfigError that tells the names which none of the model's linear layers has.
void require_layers(const Model& model, const std::vector<std::string>& names);

/// Changes a float32 model in place, to the nearest weights of each format (compress/storage): linear layers of the
/// encoder and pooler, and embedding tables. LayerNorm, biases and the classifier stay float32. Throws UnsupportedError
/// if the model is not float32, or if activations are static and an int8 layer has no input scale; as require_layers().
void quantize(Model& model, const Formats& formats);

/// The weight format of a scheme.
WeightFormat format_of(Scheme scheme);

}  // namespace compression::quantize
