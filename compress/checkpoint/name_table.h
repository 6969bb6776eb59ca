#pragma once
// Names of tensors, by the tables of families.h. Published checkpoints have several for one tensor; the canonical ones,
// which we write, are those of the Hugging Face class with the task's head:
// "bert.encoder.layer.0.attention.self.query.weight". Inside the program all families share the names of our modules.

#include <functional>
#include <string>
#include <vector>

#include "compress/checkpoint/checkpoint.h"  // StateDict
#include "compress/model/config.h"           // ModelConfig

namespace compression {

/// Renames the tensors of a checkpoint; names that no rule knows stay. Throws CheckpointError if two tensors get one
/// name, UnsupportedError for another family.
StateDict to_canonical(const std::string& model_type, StateDict state);

/// The canonical name of a tensor, or of a module with a dot at its end, by the name that our Model has for it.
std::function<std::string(const std::string&)> checkpoint_names(const ModelConfig& config);

/// Canonical names that published checkpoints hold and our model may have no place for, other heads' among them, for
/// LoadOptions::ignore.
std::vector<std::string> ignorable_names(const std::string& model_type);

}  // namespace compression
