#pragma once
// A decoder from a folder of Hugging Face's, or from a GGUF file.

#include <filesystem>
#include <string>
#include <vector>

#include "compress/model/language_model.h"  // LanguageModel

namespace compression {

/// Whether a path is of a decoder: a GGUF file, or a folder whose config.json names one. Throws CheckpointError.
bool is_language_model(const std::filesystem::path& path);

/// Reads a folder with config.json and weights, or a GGUF file (or a folder with one and without a config.json), tensor
/// by tensor, in evaluation mode. Weights in 16 bits or in blocks become float32. `warnings`, where
/// given, get a line on tensors that the network has no place for. Throws CheckpointError (missing,
/// damaged, misshapen, NaN or infinite), UnsupportedError (no decoder, another architecture).
LanguageModel load_language_model(const std::filesystem::path& path, std::vector<std::string>* warnings = nullptr);

/// The description alone: of the weights only headers are read. Warns and throws as load_language_model(), but that a
/// class without a head is described without one.
ModelConfig load_language_config(const std::filesystem::path& path, std::vector<std::string>* warnings = nullptr);

/// The ids that a text of the model ends with: "eos_token_id" of generation_config.json, else of config.json, a number
/// or a list; of a GGUF file tokenizer.ggml.eos_token_id and eot_token_id. May be none. Throws CheckpointError.
std::vector<int64_t> end_ids(const std::filesystem::path& path);

}  // namespace compression
