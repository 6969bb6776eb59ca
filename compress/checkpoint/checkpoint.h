#pragma once
// The weights of a checkpoint folder, by name.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/checkpoint/tensor_file.h"  // TensorFile

namespace compression {

/// The file of each tensor, by the tensor's name.
using TensorFiles = std::map<std::string, std::shared_ptr<const TensorFile>>;

/// All weights of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json lists
/// (tensors of a shard that the index does not list are left out); or of a GGUF file, which may be named itself. Of
/// each file only the header is read. Throws CheckpointError (no weights, damaged, tensors or shards missing),
/// UnsupportedError (pytorch_model.bin only, and as GgufFile::open()).
TensorFiles open_checkpoint(const std::filesystem::path& folder);

/// Their shapes alone. Throws as open_checkpoint(), but for tensors that a shard lacks.
using TensorShapes = std::map<std::string, std::vector<int64_t>>;
TensorShapes read_tensor_shapes(const std::filesystem::path& folder);

/// The bytes of the files that open_checkpoint() opens; of shards, not of their index. Throws as it, filesystem_error.
int64_t weight_bytes(const std::filesystem::path& folder);

/// "3 tensors missing (a, b, c)"; of many names the first five.
std::string counted(const std::vector<std::string>& names, std::string_view what);

/// What is said of tensors that a network has no place for; nothing where there are none.
std::string excess_warning(const std::vector<std::string>& names);

/// Whether an entry is the name; or, where it ends in a dot ("cls."), a beginning of it; where it begins with one
/// (".attn.bias"), its end.
bool is_listed(const std::string& name, const std::vector<std::string>& list);

}  // namespace compression
