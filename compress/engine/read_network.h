#pragma once
// A network from a folder, without LibTorch.

#include <filesystem>

#include "compress/runtime/encoder_state.h"  // EncoderState
#include "compress/spec/config.h"            // ModelConfig

namespace compression {

struct Network {
  ModelConfig config;
  runtime::EncoderState state;
};

/// Reads a stage's folder, or one of Hugging Face's whose config.json names the class of its head, tensor by tensor.
/// Throws CheckpointError (missing, damaged), UnsupportedError (a network that can't be packed).
Network read_network(const std::filesystem::path& folder);

}  // namespace compression
