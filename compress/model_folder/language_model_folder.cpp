#include "compress/model_folder/language_model_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "compress/base/error.h"             // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"         // read_json_file
#include "compress/checkpoint/gguf.h"        // GgufFile
#include "compress/families/families.h"      // find_family
#include "compress/families/gguf_config.h"   // gguf_config, gguf_name
#include "compress/families/model_config.h"  // read_model_config
#include "compress/families/name_table.h"    // canonical_names, checkpoint_names, ignorable_names
#include "compress/model_folder/joined.h"    // take_apart
#include "compress/spec/weights.h"           // weights
#include "compress/state_dict/state_dict.h"  // StoredState, load_state_dict

namespace compression {
namespace {

namespace fs = std::filesystem;

/// The GGUF file that is meant, where there is no config.json.
std::optional<fs::path> gguf_of(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path / "config.json", ignored)) return std::nullopt;
  return gguf_file(path);
}

ModelConfig config_of(const GgufFile& file) {
  const auto words = file.tensors().find("token_embd.weight");
  if (words == file.tensors().end() || words->second.shape.size() != 2) {
    throw CheckpointError(file.path().string() + ": found no matrix token_embd.weight, expected the table of words");
  }
  const auto json = gguf_config(file.metadata(), words->second.shape.front(), file.tensors().contains("output.weight"),
                                file.path().string());
  return read_model_config(json, file.path().string());
}

/// The file's tensors by our names for them.
StoredState state_of(const std::shared_ptr<const GgufFile>& file, const ModelConfig& config) {
  StoredState state;
  const bool neighbours = find_family(config.model_type).gguf_turns_neighbours;
  for (const auto& weight : weights(config)) {
    const auto name = gguf_name(config, weight);
    if (!file->tensors().contains(name)) continue;  // load_state_dict() tells
    StoredTensor tensor(file, name);
    if (neighbours && (weight.role == Role::query || weight.role == Role::key)) {
      const auto& attention = config.layers[static_cast<size_t>(weight.block)].attention;
      const auto heads = weight.role == Role::query ? attention.heads : attention.kv_heads();
      const auto rows = torch::tensor(gguf_rotary_rows(heads, attention.head_size), torch::kLong);
      if (tensor.sizes().empty() || tensor.sizes().front() != rows.numel()) {
        throw CheckpointError(fmt::format("{}: tensor {}: found {} rows, expected {}", file->path().string(), name,
                                          tensor.sizes().empty() ? 1 : tensor.sizes().front(), rows.numel()));
      }
      tensor = tensor.derived(tensor.sizes().vec(), [rows](const torch::Tensor& t) { return t.index_select(0, rows); });
    }
    state.emplace(weight.name, std::move(tensor));
  }
  return state;
}

ModelConfig config_of(const fs::path& folder) {
  const auto file = folder / "config.json";
  auto config = read_model_config(read_json_file(file), file.string());
  if (!find_family(config.model_type).is_decoder()) {
    throw UnsupportedError(
        fmt::format("{}: found an encoder, {}, expected a decoder", folder.string(), config.model_type));
  }
  return config;
}

StoredState state_of(const fs::path& folder, const ModelConfig& config) {
  const auto files = open_checkpoint(folder);
  std::vector<std::string> names;
  for (const auto& [name, file] : files) names.push_back(name);
  auto state = renamed(stored_state(files), canonical_names(config.model_type, names).of);
  take_apart(config, state, folder.string());
  if (config.language_head == LanguageHead::tied) state.erase("lm_head.weight");  // the words once more
  return state;
}

/// That the weights which the description has are there, and have its sizes.
void check_sizes(const ModelConfig& config, const StoredState& state,
                 const std::function<std::string(const std::string&)>& name, const fs::path& path) {
  for (const auto& weight : weights(config)) {
    std::vector<int64_t> sizes;
    for (const auto& axis : weight.axes) sizes.push_back(axis.size);
    const auto found = state.find(name(weight.name));
    if (found == state.end()) {
      throw CheckpointError(fmt::format("{}: found no tensor {}, expected one of [{}]", path.string(),
                                        name(weight.name), fmt::join(sizes, ", ")));
    }
    if (found->second.sizes() == at::IntArrayRef(sizes)) continue;
    throw CheckpointError(fmt::format("{}: tensor {}: found [{}], expected [{}]", path.string(), name(weight.name),
                                      fmt::join(found->second.sizes(), ", "), fmt::join(sizes, ", ")));
  }
}

LanguageModel filled(const ModelConfig& config, const StoredState& state, const fs::path& path,
                     std::function<std::string(const std::string&)> name) {
  const c10::InferenceMode ordinary(false);
  for (const auto& zero : find_family(config.model_type).zeros) {
    const auto found = state.find(zero);
    if (found == state.end() || !found->second.read().any().item<bool>()) continue;
    throw UnsupportedError(
        fmt::format("{}: tensor {}: found other numbers than 0, supported: none", path.string(), zero));
  }
  LanguageModel model(config);
  LoadOptions load;
  load.source = path.string();
  load.ignore = ignorable_names(config.model_type);
  load.allow_unexpected = true;
  load.name = std::move(name);
  load.place = [&](const std::string& tensor) { return fmt::format("{}: tensor {}", path.string(), tensor); };
  load_state_dict(*model, state, load);
  model->eval();
  return model;
}

}  // namespace

ModelConfig load_language_config(const fs::path& path) {
  const auto gguf = gguf_of(path);
  const auto file = gguf ? std::make_shared<const GgufFile>(GgufFile::open(*gguf)) : nullptr;
  auto config = file ? config_of(*file) : config_of(path);
  std::error_code ignored;
  const bool has_weights = file || fs::exists(path / "model.safetensors", ignored) ||
                           fs::exists(path / "model.safetensors.index.json", ignored);
  if (!has_weights) return config;
  const auto state = file ? state_of(file, config) : state_of(path, config);
  if (config.language_head == LanguageHead::own && !state.contains("lm_head.weight")) {
    config.language_head = LanguageHead::none;  // of a class without one
  }
  const auto in_folder = checkpoint_names(config);
  check_sizes(config, state, [&](const std::string& own) { return file ? own : in_folder(own); }, gguf ? *gguf : path);
  return config;
}

LanguageModel load_language_model(const fs::path& path) {
  if (const auto found = gguf_of(path)) {
    const auto file = std::make_shared<const GgufFile>(GgufFile::open(*found));
    const auto config = config_of(*file);
    return filled(config, state_of(file, config), *found, {});
  }
  const auto config = config_of(path);
  return filled(config, state_of(path, config), path, checkpoint_names(config));
}

}  // namespace compression
