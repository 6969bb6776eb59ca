#pragma once
// What the files of sentence-transformers say of texts.

#include <filesystem>
#include <vector>

#include "compress/tokenizer/tokenizer.h"  // SentenceSettings

namespace compression {

/// The folder in which the files of the encoder are: `folder`, or below it where modules.json says so, as old versions
/// of sentence-transformers have it (0_Transformer). Never throws.
std::filesystem::path transformer_folder(const std::filesystem::path& folder);

/// Of `folder`, where modules.json is, if it is there. Throws CheckpointError.
SentenceSettings read_sentence_settings(const std::filesystem::path& folder);

/// The files that read_sentence_settings() takes from transformer_folder(folder), relative to that.
std::vector<std::filesystem::path> sentence_files(const std::filesystem::path& folder);

/// Writes the settings, what else the files there say stays. Throws StorageError.
void write_sentence_settings(const SentenceSettings& settings, const std::filesystem::path& folder);

}  // namespace compression
