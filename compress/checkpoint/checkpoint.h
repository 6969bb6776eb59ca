#pragma once
// The weights of a checkpoint folder, and of a module, by name.

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace torch::nn {
class Module;
}

namespace compression {

using StateDict = std::map<std::string, torch::Tensor>;

/// All weights of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json lists.
/// Tensors are views of the bytes read; those of a shard that the index does not list are left out. Throws
/// CheckpointError (no weights, damaged, tensors or shards missing), UnsupportedError (pytorch_model.bin only).
StateDict read_state_dict(const std::filesystem::path& folder);

/// Their shapes alone: of each file only the header is read. Throws as read_state_dict().
using TensorShapes = std::map<std::string, std::vector<int64_t>>;
TensorShapes read_tensor_shapes(const std::filesystem::path& folder);

/// The bytes of the files that read_state_dict() reads; of shards, not of their index. Throws as it, filesystem_error.
int64_t weight_bytes(const std::filesystem::path& folder);

/// The file of a tensor that read_state_dict() found.
std::filesystem::path file_of_tensor(const std::filesystem::path& folder, const std::string& name);

/// Writes model.safetensors. Throws UnsupportedError, StorageError as write_safetensors() does.
void write_state_dict(const std::filesystem::path& folder, const StateDict& state);

/// An entry of these lists is a full name, or a prefix if it ends in a dot ("cls.").
struct LoadOptions {
  std::string source = "state dict";            // file or folder, for messages
  std::vector<std::string> allow_missing = {};  // tensors of the module that `state` may lack: they stay as they are
  std::vector<std::string> ignore = {};         // tensors of `state` that the module may lack: they are skipped
  bool allow_unexpected = false;                // others that it lacks are skipped too, else they are an error
  /// What `state` calls a tensor of the module; all lists and messages have these names. Absent: as the module does.
  std::function<std::string(const std::string&)> name = {};
  /// Set: NaN and infinities are an error that begins with what it says of a name, such as "FILE: tensor NAME".
  std::function<std::string(const std::string&)> place = {};
};

struct LoadReport {
  std::vector<std::string> left_as_initialised;
  std::vector<std::string> ignored;     // by LoadOptions::ignore
  std::vector<std::string> unexpected;  // by LoadOptions::allow_unexpected
};

/// Copies tensors into the parameters and buffers of the same names (or as options.name says). Shapes must be equal;
/// floating-point tensors are converted to the module's dtype, others must have it. Throws one CheckpointError for all
/// that is missing, unexpected or does not fit, before anything is copied; then one for what is not finite.
LoadReport load_state_dict(torch::nn::Module& module, const StateDict& state, const LoadOptions& options = {});

/// Parameters and buffers, detached; they share the module's memory.
StateDict state_dict(const torch::nn::Module& module);

/// The first NaN or infinity of a floating-point tensor: "nan at [3, 5]"; empty where all numbers are finite.
std::string not_finite(const torch::Tensor& tensor);

/// "3 tensors missing (a, b, c)"; of many names the first five.
std::string counted(const std::vector<std::string>& names, std::string_view what);

}  // namespace compression
