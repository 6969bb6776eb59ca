#pragma once
// A model as a Hugging Face folder: config.json, weights, tokenizer files.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "compress/model/model.h"          // Model
#include "compress/tokenizer/tokenizer.h"  // Tokenizer

namespace compression {

struct LoadModelOptions {
  /// The task, and its classes by id. A head of the same classes in another order is re-ordered; absent: the
  /// checkpoint's own, which is that of sentence embeddings for an encoder without a head.
  std::optional<TaskHead> head;
  /// Whether a head is made where the checkpoint has none, or one of another task or other classes. Else that is an
  /// error.
  bool new_head = false;
};

struct LoadedModel {
  Model model{nullptr};
  std::vector<std::string> notes;  // what was not as in the checkpoint, in words: "a new head for 5 classes"
};

/// Reads a folder, in evaluation mode. Weights keep the format that config.json names; new ones come from LibTorch's
/// generator. Throws CheckpointError (missing, damaged, misshapen), UnsupportedError.
LoadedModel load_model(const std::filesystem::path& folder, const LoadModelOptions& options = {});

/// Only config.json. Throws as load_model.
ModelConfig load_model_config(const std::filesystem::path& folder);

/// Writes config.json, model.safetensors, and copies of the tokenizer's files. Throws StorageError.
void save_model(const Model& model, const Tokenizer& tokenizer, const std::filesystem::path& folder);

/// Copies a tokenizer's files. Throws StorageError.
void copy_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace compression
