#pragma once
// Which head a checkpoint has: what its tensors and its config.json say together.

#include <string>

#include "compress/checkpoint/checkpoint.h"  // TensorShapes
#include "compress/spec/config.h"            // ModelConfig, HeadKind

namespace compression {

HeadKind head_of(const ModelConfig& config);

/// The shapes by canonical names (families/name_table.h). Throws as canonical_names().
TensorShapes canonical_shapes(const std::string& model_type, const TensorShapes& shapes);

/// What a head is called in the checkpoint: a module, with a dot at its end.
std::string head_module(ModelConfig config, HeadKind head, const std::string& module);

/// Whether the tensors of a head are there. In some families the last layers of several heads share a name: then
/// config.json has to name the class, but for texts and tokens, where it is the layer before that tells.
bool has_head(const TensorShapes& shapes, const ModelConfig& config, HeadKind head);

/// The head whose tensors are there. Throws CheckpointError for a number of classes that no model has.
TaskHead head_there(const TensorShapes& shapes, const ModelConfig& config, HeadKind head);

/// Makes the head the config's.
void take(TaskHead head, ModelConfig& config);

/// Makes the config's head the one whose tensors are there, if it is not: where config.json names no class, or one that
/// has it among others. A class that is named, and whose head is not there, stays. Of several heads, that for texts,
/// for tokens, for spans or for words is taken, in this order; a line that says so, or nothing. Throws as head_there().
std::string settle_head(const TensorShapes& shapes, ModelConfig& config);

/// The class that config.json names, if it is for none of our tasks: "BertForMultipleChoice".
std::string foreign_class(const ModelConfig& config);

/// What is said of an encoder that is taken for one without a head for its foreign class; empty for any other.
std::string foreign_class_warning(const ModelConfig& config);

}  // namespace compression
