#pragma once
// A model as a Hugging Face folder: config.json, weights, tokenizer files.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "compress/model/model.h"          // Model
#include "compress/tokenizer/tokenizer.h"  // Tokenizer
#include "compress/workflow/context.h"     // Context

namespace compression {

struct LoadModelOptions {
  /// The task, and its classes by id (task/labels.h has how they are compared). The head's rows take this order, and
  /// keep the checkpoint's names; rows of other classes are left out. Absent: the checkpoint's own, which is that of
  /// sentence embeddings for an encoder without a head.
  std::optional<TaskHead> head;
  /// Whether a head is made where the checkpoint has none, or one of another task or other classes. Else that is an
  /// error.
  bool new_head = false;
};

struct LoadedModel {
  Model model{nullptr};
  std::vector<std::string> notes;     // what was not as in the checkpoint, in words: "a new head for 5 classes"
  std::vector<std::string> warnings;  // what is odd in it: "4 tensors in excess are ignored (fit_dense.bias, ...)"
};

/// Reads a folder, in evaluation mode. Weights keep the format that config.json names; new ones come from LibTorch's
/// generator. Which head the checkpoint has is known by its tensors; where they serve several, by config.json. Tensors
/// in excess are ignored. Throws CheckpointError (missing, damaged, misshapen, NaN or infinite), UnsupportedError.
LoadedModel load_model(const std::filesystem::path& folder, const LoadModelOptions& options = {});

/// The same, and tells the context's logger the notes and warnings.
LoadedModel load_model(const std::filesystem::path& folder, const LoadModelOptions& options, const Context& context);

/// Only config.json, of weights that are beside it the names and shapes, which tell the head, and of a
/// sentence-transformers folder what its modules are. Of a decoder as load_language_config(). `warnings`, where given,
/// get lines on what the tensors have besides. Throws as load_model.
ModelConfig load_model_config(const std::filesystem::path& folder, std::vector<std::string>* warnings = nullptr);

/// Compares the weights beside config.json with what it says of them, by their headers; does nothing where there are
/// none. `config`: load_model_config()'s. A head may be missing. Throws CheckpointError that names tensor, found and
/// expected.
void check_weights(const std::filesystem::path& folder, const ModelConfig& config);

/// Why load_model() would not take the wanted head from a folder: "has no head for classification; fine-tune it first".
/// Empty if it would. From the files' headers alone; `config`: load_model_config()'s; no labels: the classes are not
/// known, and any will do. Throws as load_model, UnsupportedError for pytorch_model.bin too.
std::string head_misfit(const std::filesystem::path& folder, ModelConfig config, const TaskHead& wanted);

/// Writes, into a folder that is made where it is not there, config.json, model.safetensors, and copies of the
/// tokenizer's files; of a model for embedding also what sentence-transformers loads it with. Throws StorageError;
/// DataError, before anything is written, if a tensor of the model is not finite.
void save_model(const Model& model, const Tokenizer& tokenizer, const std::filesystem::path& folder);

/// Copies a tokenizer's files. Throws StorageError.
void copy_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace compression
