#pragma once
// What a GGUF file says of its network, as a config.json says it, and how it calls the weights.

#include <nlohmann/json.hpp>
#include <string>

#include "compress/spec/config.h"   // ModelConfig
#include "compress/spec/weights.h"  // WeightSpec

namespace compression {

/// A config.json of the family of the file's "general.architecture". `words`: rows of its table of words;
/// `own_head`: whether it has a matrix of its own for the next word. Throws UnsupportedError (another architecture,
/// scaled rotary positions), CheckpointError (a key that is missing).
nlohmann::json gguf_config(const nlohmann::json& metadata, int64_t words, bool own_head, const std::string& file);

/// The file's name of a weight. Throws UnsupportedError where the family's has none.
std::string gguf_name(const ModelConfig& config, const WeightSpec& weight);

}  // namespace compression
