#pragma once
// Tensors in a safetensors file that tells when it is damaged: its metadata hold a hash of everything else in it.

#include <filesystem>
#include <map>
#include <string>

#include "compress/state_dict/state_dict.h"  // StateDict

namespace compression {

struct CheckedTensors {
  StateDict tensors;
  std::map<std::string, std::string> metadata;  // with the hash
};

/// Replaces the file whole. `tensors`: on the CPU, contiguous. Throws StorageError.
void write_checked(const std::filesystem::path& path, const StateDict& tensors,
                   std::map<std::string, std::string> metadata);

/// Throws CheckpointError if the file is no such one, or its hash is not that of its content.
CheckedTensors read_checked(const std::filesystem::path& path);

}  // namespace compression
