#pragma once
// A network from a folder, without LibTorch.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/base/host_tensor.h"        // HostTensor, LazyTensor
#include "compress/checkpoint/tensor_file.h"  // TensorFile
#include "compress/runtime/encoder_state.h"   // EncoderState
#include "compress/spec/config.h"             // ModelConfig
#include "compress/spec/weights.h"            // WeightSpec

namespace compression {

/// A stage's folder, or one of Hugging Face's: its description, with the head that its tensors and config.json say it
/// has, and its tensors, each read when it is asked for. Immutable; any number of threads may read.
class NetworkFolder {
 public:
  /// Of the weights only headers are read: every tensor that the description asks for is there, of its shape. Throws
  /// CheckpointError (missing, damaged, misshapen), UnsupportedError (a network that can't be packed: runtime_lacks(),
  /// int8 activations with one scale for all texts, modules of sentence-transformers that we do not have).
  explicit NetworkFolder(const std::filesystem::path& folder);

  const ModelConfig& config() const { return config_; }

  /// The file with the weights, or the index of several: for messages.
  const std::filesystem::path& file() const { return file_; }

  /// What is odd in it, a line each, as load_model() tells it: tensors in excess, keys that contradict each other.
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// A tensor by the name that our modules have for it (network_state.h: TensorOf), undefined where there is none.
  /// Matrices as they are in the file, but for bfloat16 that config.json does not ask for: the rest is float32. What it
  /// reads from is open as long as it lives. Reading throws CheckpointError that names file and tensor where a number
  /// is NaN or infinite.
  LazyTensor tensor(const std::string& own) const;

  /// The tensor read.
  HostTensor read(const std::string& own) const;

 private:
  /// Where a tensor is: all of one of a file, or some of its rows.
  struct Place {
    std::shared_ptr<const TensorFile> file;
    std::string name;
    int64_t first = 0;
    std::optional<int64_t> rows = std::nullopt;  // absent: all
  };

  void find_tensors();
  void take_apart();
  void find_steps();
  void check_tensors();
  void check_tied() const;
  void tell_excess();
  const Place* find(const std::string& own) const;
  static std::vector<int64_t> shape_at(const Place& place);
  static HostTensor read_at(const Place& place);

  std::filesystem::path folder_, files_;  // files_: where those of the encoder are
  std::filesystem::path file_;
  ModelConfig config_;
  std::function<std::string(const std::string&)> canonical_;  // checkpoint_names()
  std::string words_;                                         // canonical name of the table of words
  std::map<std::string, Place> places_;                       // by canonical name
  std::map<std::string, WeightSpec> weights_;                 // by our name
  std::map<std::string, DType> expected_;                     // of every tensor that the description asks for, by ours
  std::vector<std::string> warnings_;
};

struct Network {
  ModelConfig config;
  runtime::EncoderState state;
};

/// The folder's encoder, with its head where the runtime has it; of the state, tensors are read when it is asked for
/// them. Throws as NetworkFolder.
Network read_network(const std::filesystem::path& folder);

}  // namespace compression
