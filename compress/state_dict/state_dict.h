#pragma once
// Tensors of LibTorch by name: of a module, of a checkpoint, and from one to the other.

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/checkpoint/checkpoint.h"  // TensorFiles

namespace torch::nn {
class Module;
}

namespace compression {

using StateDict = std::map<std::string, torch::Tensor>;

/// A tensor of a file, which is read when it is asked for; or one that is in memory.
class StoredTensor {
 public:
  StoredTensor(torch::Tensor tensor)  // NOLINT(google-explicit-constructor): one or the other, all the same
      : tensor_(std::move(tensor)), dtype_(tensor_.scalar_type()), sizes_(tensor_.sizes().vec()) {}
  StoredTensor(std::shared_ptr<const TensorFile> file, std::string name);

  /// What `make` makes of it, of the same dtype or, of floats, another of theirs: it is read and made when it is asked
  /// for.
  StoredTensor derived(std::vector<int64_t> sizes, std::function<torch::Tensor(const torch::Tensor&)> make) const;

  torch::Dtype dtype() const { return dtype_; }
  at::IntArrayRef sizes() const { return sizes_; }
  int64_t numel() const { return c10::multiply_integers(sizes_); }

  /// In memory of its own, or the tensor that is in memory. Throws as TensorFile::read().
  torch::Tensor read() const;

  /// Puts its numbers into `target`, which has its sizes and may have another dtype: a file's straight into the
  /// target's memory where it is on the CPU, contiguous and of the same dtype. Returns the numbers as they are stored:
  /// the target itself, where it has them.
  torch::Tensor read_into(const torch::Tensor& target) const;

 private:
  std::shared_ptr<const TensorFile> file_;
  std::string name_;
  torch::Tensor tensor_;
  torch::Dtype dtype_;
  std::vector<int64_t> sizes_;
  std::function<torch::Tensor(const torch::Tensor&)> make_;  // of what is stored; may be empty
};

using StoredState = std::map<std::string, StoredTensor>;
StoredState stored_state(const TensorFiles& files);

/// The tensors under other names, by their own. One that is there under two may be: it is taken once. Throws
/// CheckpointError if two that differ get one name.
StoredState renamed(const StoredState& state, const std::map<std::string, std::string>& names);

torch::Tensor read_tensor(const TensorFile& file, const std::string& name);
StateDict read_tensors(const TensorFile& file);

/// All weights of a checkpoint folder, in memory of their own. Throws as open_checkpoint() and TensorFile::read().
StateDict read_state_dict(const std::filesystem::path& folder);

/// Tensors may be on any device and need not be contiguous; those that share memory are written each on its own. Throws
/// as the function of this name for tensors without LibTorch, and UnsupportedError for a tensor that the format cannot
/// hold.
void write_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// Writes model.safetensors. Throws as write_safetensors().
void write_state_dict(const std::filesystem::path& folder, const StateDict& state);

/// An entry of these lists is a full name, or a prefix if it ends in a dot ("cls.").
struct LoadOptions {
  std::string source = "state dict";            // file or folder, for messages
  std::vector<std::string> allow_missing = {};  // tensors of the module that `state` may lack: they stay as they are
  std::vector<std::string> ignore = {};         // tensors of `state` that the module may lack: they are skipped
  bool allow_unexpected = false;                // others that it lacks are skipped too, else they are an error
  /// What `state` calls a tensor of the module; all lists have these names. Absent: as the module does.
  std::function<std::string(const std::string&)> name = {};
  /// What messages call a tensor of `state` that is missing or does not fit. Absent: as `state` does.
  std::function<std::string(const std::string&)> shown = {};
  /// Set: NaN and infinities are an error that begins with what it says of a name, such as "FILE: tensor NAME".
  std::function<std::string(const std::string&)> place = {};
  /// Called before anything is copied, where there are tensors that stay as they are: gives the module its first
  /// values.
  std::function<void()> initialize = {};
};

struct LoadReport {
  std::vector<std::string> left_as_initialised;
  std::vector<std::string> ignored;     // by LoadOptions::ignore
  std::vector<std::string> unexpected;  // by LoadOptions::allow_unexpected
};

/// Copies tensors into the parameters and buffers of the same names (or as options.name says), one after the other.
/// Shapes must be equal; floating-point tensors are converted to the module's dtype, others must have it. Throws one
/// CheckpointError for all that is missing, unexpected or does not fit, before anything is copied; then one for what is
/// not finite; and as TensorFile::read().
LoadReport load_state_dict(torch::nn::Module& module, const StoredState& state, const LoadOptions& options = {});
LoadReport load_state_dict(torch::nn::Module& module, const StateDict& state, const LoadOptions& options = {});

/// Parameters and buffers, detached; they share the module's memory.
StateDict state_dict(const torch::nn::Module& module);

/// The first NaN or infinity of a floating-point tensor: "nan at [3, 5]"; empty where all numbers are finite.
std::string not_finite(const torch::Tensor& tensor);

}  // namespace compression
