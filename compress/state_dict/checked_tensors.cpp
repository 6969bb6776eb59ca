#include "compress/state_dict/checked_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "compress/base/error.h"              // CheckpointError
#include "compress/base/fingerprint.h"        // Fingerprint
#include "compress/checkpoint/safetensors.h"  // SafetensorsFile

namespace compression {
namespace {

using nlohmann::json;

constexpr auto checksum_key = "xxh128";

/// Of everything in the file but the checksum itself.
std::string checksum(const StateDict& tensors, std::map<std::string, std::string> metadata) {
  metadata.erase(checksum_key);
  Fingerprint hash;
  hash.add(json(metadata).dump());
  for (const auto& [name, tensor] : tensors) {
    hash.add(fmt::format("{}:{}:{}", json(name).dump(), static_cast<int>(tensor.scalar_type()),
                         fmt::join(tensor.sizes().vec(), ",")));
    hash.add(tensor.data_ptr(), tensor.nbytes());
  }
  return hash.text();
}

}  // namespace

void write_checked(const std::filesystem::path& path, const StateDict& tensors,
                   std::map<std::string, std::string> metadata) {
  metadata[checksum_key] = checksum(tensors, metadata);
  write_safetensors(path, tensors, metadata);
}

CheckedTensors read_checked(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  CheckedTensors read{.tensors = read_tensors(file), .metadata = file.metadata()};
  const auto found = read.metadata.find(checksum_key);
  if (found == read.metadata.end() || found->second != checksum(read.tensors, read.metadata)) {
    throw CheckpointError(path.string() + ": its checksum is not that of its content");
  }
  return read;
}

}  // namespace compression
