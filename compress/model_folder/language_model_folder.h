#pragma once
// A decoder from a folder of Hugging Face's, or from a GGUF file.

#include <filesystem>

#include "compress/model/language_model.h"  // LanguageModel

namespace compression {

/// Reads a folder with config.json and weights, or a GGUF file (or a folder with one and without a config.json), tensor
/// by tensor, in evaluation mode. Weights in 16 bits or in blocks become float32. Throws CheckpointError (missing,
/// damaged, misshapen, NaN or infinite), UnsupportedError (no decoder, another architecture).
LanguageModel load_language_model(const std::filesystem::path& path);

/// The description alone: of the weights only headers are read. Throws as load_language_model().
ModelConfig load_language_config(const std::filesystem::path& path);

}  // namespace compression
