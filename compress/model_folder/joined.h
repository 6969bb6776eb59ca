#pragma once
// Tensors of a file that hold several of ours, or ours turned, as families/name_table.h tells: taken apart when a model
// is read, put together when it is written.

#include <string>

#include "compress/spec/config.h"            // ModelConfig
#include "compress/state_dict/state_dict.h"  // StateDict, StoredState

namespace compression {

/// What quantization adds goes the same way. Throws CheckpointError, which begins with `source`, and names the tensor
/// of the file, where its sizes are not those of the parts together.
void take_apart(const ModelConfig& config, StoredState& state, const std::string& source);
void put_together(const ModelConfig& config, StateDict& state);

}  // namespace compression
