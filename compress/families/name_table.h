#pragma once
// Names of tensors, by the tables of families.h. Published checkpoints have several for one tensor; the canonical ones,
// which we write, are those of the Hugging Face class with the task's head:
// "bert.encoder.layer.0.attention.self.query.weight". Inside the program all families share the names of our modules.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

/// The names of a checkpoint's tensors and the canonical ones; names that no rule knows stay.
struct CanonicalNames {
  std::map<std::string, std::string> of;  // canonical name by the one in the file
  std::string prefix;  // that all of the encoder's names have in the file: "module." of DataParallel; else empty
};

/// Throws CheckpointError where there are two encoders, UnsupportedError for another family.
CanonicalNames canonical_names(const std::string& model_type, const std::vector<std::string>& names);

/// The canonical name of a tensor, or of a module with a dot at its end, by the name that our Model has for it.
std::function<std::string(const std::string&)> checkpoint_names(const ModelConfig& config);

/// Canonical names that published checkpoints hold and our model may have no place for, other heads' among them: they
/// are not worth a word. For LoadOptions::ignore.
std::vector<std::string> ignorable_names(const std::string& model_type);

}  // namespace compression
