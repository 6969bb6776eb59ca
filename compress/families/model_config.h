#pragma once
// From a config.json to a ModelConfig, and back.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig, TaskHead

namespace compression {

/// Reads a config.json. `file` is named in messages. Accepts the Hugging Face fields of the model families
/// (families/families.h), with the defaults that transformers has for them, and "compress" (docs/artifact.md).
/// Numbers may be written as texts, and whole ones as 12.0; model_type may be left to "architectures". A classifier
/// without id2label has the labels LABEL_0 and LABEL_1: transformers does not write its defaults. label2id says nothing
/// that id2label does not, and is not read. What contradicts itself without harm goes to `notes`, a line each, where
/// that is not null. Throws CheckpointError (missing or ill-typed field, sizes that do not fit), UnsupportedError
/// (another model type, activation, position embedding or quantization). The task follows from "architectures" and
/// "problem_type", as in transformers.
ModelConfig read_model_config(const nlohmann::json& json, const std::string& file,
                              std::vector<std::string>* notes = nullptr);

/// The task whose class of the family "architectures" names: embedding of the bare encoder, nothing of any other class.
/// Of tasks that have one class, the first (compress/spec/task.h).
std::optional<TaskType> named_task(const ModelConfig& config);

/// Of a decoder, the class that config.json names if its head is not for the next word: "BartForQuestionAnswering";
/// else nothing. Such a decoder is read without its head.
std::string foreign_head(const ModelConfig& config);

/// Whether it names a class without any head: "LlamaModel".
bool is_of_bare_class(const ModelConfig& config);

/// What config.json says of a head of `task` with so many classes: its labels, LABEL_i for those without a name, and of
/// a head for whole texts whether it is for classification, multi_label or regression. A task without classes has no
/// labels, whatever `classes` is.
TaskHead head_of_classes(const ModelConfig& config, TaskType task, int64_t classes);

/// Whether the labels are those that config.json gives one by one, from 0 on.
bool has_label_names(const ModelConfig& config);

/// The inverse. The usual heads and intermediate size stay those of config.source; where a layer differs from them,
/// "compress" holds the shapes. It also names 16-bit weights and the format of the embeddings; int8 linear layers make
/// a quantization_config in the compressed-tensors convention. `activations` is kept for int8 only.
nlohmann::json write_model_config(const ModelConfig& config);

}  // namespace compression
