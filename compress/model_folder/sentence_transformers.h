#pragma once
// The weights of the modules behind the encoder of a sentence-transformers folder, and such a folder written
// (model_files/sentence_modules.h reads what its modules are).

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "compress/spec/config.h"            // ModelConfig
#include "compress/state_dict/state_dict.h"  // StateDict, StoredState
#include "compress/tokenizer/tokenizer.h"    // Tokenizer

namespace compression {

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

}  // namespace compression
