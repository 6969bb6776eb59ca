#pragma once
// Vocabularies of the time before tokenizer.json, read as Hugging Face's class for them does: vocab.txt, vocab.json
// with merges.txt, and sentencepiece models.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/sentencepiece_model.h"
#include "compress/tokenizer/tokenizer_settings.h"

namespace compression {

// All: everything but folder and files. They throw CheckpointError, and UnsupportedError for a tokenizer class that is
// not supported.

PipelineConfig read_vocab_txt(const std::filesystem::path& path, const TokenizerSettings& settings);

/// merges.txt is beside `path`.
PipelineConfig read_vocab_json(const std::filesystem::path& path, const TokenizerSettings& settings);

/// merges.txt: the pairs of tokens, the first to merge first.
std::vector<std::pair<std::string, std::string>> read_merges(const std::filesystem::path& path);

PipelineConfig read_sentencepiece(const std::filesystem::path& path, const TokenizerSettings& settings);

/// Of a model that `path` holds in another form.
PipelineConfig read_sentencepiece(SentencepieceModel model, const std::filesystem::path& path,
                                  const TokenizerSettings& settings);

}  // namespace compression
