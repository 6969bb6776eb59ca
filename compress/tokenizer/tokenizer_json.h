#pragma once
// tokenizer.json, the format of Hugging Face tokenizers.

#include <filesystem>
#include <string>
#include <utility>

#include "compress/tokenizer/json_node.h"
#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/tokenizer_settings.h"

namespace compression {

/// Everything but folder and files, as the tokenizer's class makes it (tokenizer_class.h). Truncation and padding in
/// the file are not read. Throws CheckpointError, and UnsupportedError for a component that is not supported.
PipelineConfig read_tokenizer_json(const std::filesystem::path& path, const TokenizerSettings& settings);

/// The kind of the "model" of a tokenizer.json: WordPiece, BPE, Unigram. Throws UnsupportedError.
std::string tokenizer_model_type(const JsonNode& model);

/// An entry of a BPE model's "merges": ["a", "b"], or "a b" as files have it that are older. Throws CheckpointError.
std::pair<std::string, std::string> read_merge(const JsonNode& merge);

}  // namespace compression
