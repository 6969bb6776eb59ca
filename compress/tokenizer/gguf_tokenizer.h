#pragma once
// The tokenizer inside of a GGUF file: its metadata with keys tokenizer.ggml.*.

#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/tokenizer/pipeline.h"

namespace compression {

/// Everything but folder and files. Models: "gpt2" (byte-level BPE; what comes before it is known by
/// tokenizer.ggml.pre: gpt-2, smollm, llama-bpe, qwen2) and "llama" (sentencepiece's BPE, whose merges follow from
/// scores). Special and user-defined tokens are looked for in the text; texts begin and end with special tokens as
/// add_bos_token and add_eos_token say, and where they are absent, as llama.cpp does. `path`, the file, begins
/// messages. Throws CheckpointError; UnsupportedError for another model.
PipelineConfig read_gguf_tokenizer(const nlohmann::json& metadata, const std::filesystem::path& path);

}  // namespace compression
