#pragma once
// Names of tensors, one table a model family. Published checkpoints have several for one tensor; the canonical ones,
// which we write, are those of the Hugging Face class with the task's head:
// "bert.encoder.layer.0.attention.self.query.weight". Inside the program all families share the names of our modules.

#include <string>
#include <vector>

#include "compress/checkpoint/checkpoint.h"  // StateDict

namespace compression {

/// The model families that have a table: the values of model_type in config.json that can be read.
std::vector<std::string> supported_model_types();

/// Throws UnsupportedError that names the supported families.
void require_supported_model_type(const std::string& model_type, const std::string& where);

/// Renames the tensors of a checkpoint; names that no rule knows stay. Throws CheckpointError if two tensors get one
/// name, UnsupportedError for another family.
StateDict to_canonical(const std::string& model_type, StateDict state);

/// The canonical name of a tensor that our Model calls `own`.
std::string checkpoint_name(const std::string& model_type, const std::string& own);

/// Canonical names that published checkpoints hold and our model has no place for, for LoadOptions::ignore.
std::vector<std::string> ignorable_names(const std::string& model_type);

}  // namespace compression
