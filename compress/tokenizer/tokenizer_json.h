#pragma once
// tokenizer.json, the format of Hugging Face tokenizers.

#include <filesystem>

#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/tokenizer_settings.h"

namespace compression {

/// Everything but folder and files. Truncation and padding in the file are not read. Throws CheckpointError, and
/// UnsupportedError for a component that is not supported.
PipelineConfig read_tokenizer_json(const std::filesystem::path& path, const TokenizerSettings& settings);

}  // namespace compression
