#pragma once
// The modules behind the encoder of a sentence-transformers folder: modules.json, 1_Pooling, 2_Dense, 3_Normalize. What
// such a folder says of texts is read with the tokenizer (tokenizer/sentence_settings.h).

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "compress/spec/config.h"            // ModelConfig
#include "compress/state_dict/state_dict.h"  // StateDict, StoredState
#include "compress/tokenizer/tokenizer.h"    // Tokenizer

namespace compression {

/// Sets config.embedding as the folder's modules.json says, if there is one, and the task of an encoder whose
/// config.json names it after the masked language model that it was. Modules that we do not have are named in
/// config.embedding.unsupported. Throws CheckpointError (damaged file).
void read_sentence_modules(const std::filesystem::path& folder, ModelConfig& config);

/// Adds the weights of the dense modules to `state`, where `name` gives the names of our module's tensors. Throws
/// CheckpointError (a module without weights).
void read_dense_weights(const std::filesystem::path& folder, const ModelConfig& config,
                        const std::function<std::string(const std::string&)>& name, StoredState& state);

/// Writes all that sentence-transformers needs besides encoder and tokenizer, with the weights of the dense modules in
/// `own`, which has the names of our module. `tokenizer`: its settings of texts are written. Throws StorageError.
void write_sentence_modules(const ModelConfig& config, const Tokenizer& tokenizer, const StateDict& own,
                            const std::filesystem::path& folder);

/// Cuts texts of the folder to `length` tokens from now on, where they are not cut to fewer.
void limit_sentence_length(const std::filesystem::path& folder, int64_t length);

/// The files of a sentence-transformers folder that are in folders of its own, relative to it: what modules.json names.
std::vector<std::filesystem::path> module_files(const std::filesystem::path& folder);

}  // namespace compression
