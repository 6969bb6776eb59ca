#pragma once
// From the tensor names of published checkpoints to ours, one table a model family. Ours, the canonical names, are
// those of the Hugging Face class with a sequence classification head:
// "bert.encoder.layer.0.attention.self.query.weight".

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

/// Canonical names that published checkpoints hold and our model has no place for, for LoadOptions::ignore.
std::vector<std::string> ignorable_names(const std::string& model_type);

}  // namespace compression
