#include "compress/model_folder/language_model_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "compress/base/error.h"             // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"         // excerpt, read_json_file
#include "compress/checkpoint/checkpoint.h"  // excess_warning, is_listed
#include "compress/checkpoint/gguf.h"        // GgufFile
#include "compress/families/families.h"      // find_family
#include "compress/families/gguf_config.h"   // gguf_config, gguf_name
#include "compress/families/model_config.h"  // foreign_head, is_of_bare_class, read_model_config
#include "compress/families/name_table.h"    // canonical_name, canonical_names, checkpoint_names, names_in_file
#include "compress/model_folder/joined.h"    // take_apart
#include "compress/spec/weights.h"           // weights
#include "compress/state_dict/state_dict.h"  // StoredState, load_state_dict

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The GGUF file that is meant, where there is no config.json.
std::optional<fs::path> gguf_of(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path / "config.json", ignored)) return std::nullopt;
  return gguf_file(path);
}

/// What a state calls a tensor by our name for it, and the file by the state's.
struct Names {
  std::function<std::string(const std::string&)> in_state, in_file;
};

Names folder_names(const ModelConfig& config) {
  return {checkpoint_names(config), names_in_file(config)};
}

/// Those of a GGUF file, whose state has our names.
Names gguf_names(const ModelConfig& config) {
  std::map<std::string, std::string> theirs;
  for (const auto& weight : weights(config)) theirs.emplace(weight.name, gguf_name(config, weight));
  return {[](const std::string& own) { return own; },
          [theirs = std::move(theirs)](const std::string& own) { return theirs.at(own); }};
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
  if (config.language_head == LanguageHead::tied) {  // the words once more
    state.erase(canonical_name(config, Role::language_head));
  }
  return state;
}

/// That the weights which the description has are there, and have its sizes. Those of joined tensors are held against
/// them where these are taken apart.
void check_sizes(const ModelConfig& config, const StoredState& state, const fs::path& path, const Names& names) {
  std::map<std::string, std::vector<int64_t>> joined;  // sizes of the whole
  for (const auto& whole : joined_tensors(config)) joined[whole.name] = whole.sizes;
  const auto turned = transposed_tensors(config);
  for (const auto& weight : weights(config)) {
    const auto name = names.in_state(weight.name), shown = names.in_file(name);
    std::vector<int64_t> sizes;
    for (const auto& axis : weight.axes) sizes.push_back(axis.size);
    const auto found = state.find(name);
    if (found != state.end() && found->second.sizes() == at::IntArrayRef(sizes)) continue;
    const auto stored = [&](std::vector<int64_t> all) {
      if (std::ranges::find(turned, shown) != turned.end()) std::ranges::reverse(all);
      return fmt::format("[{}]", fmt::join(all, ", "));
    };
    if (found == state.end()) {
      const auto whole = joined.find(shown);
      throw CheckpointError(fmt::format("{}: found no tensor {}, expected one of {}", path.string(), shown,
                                        stored(whole == joined.end() ? sizes : whole->second)));
    }
    throw CheckpointError(fmt::format("{}: tensor {}: found {}, expected {}", path.string(), shown,
                                      stored(found->second.sizes().vec()), stored(sizes)));
  }
}

/// The keys of tensors.
std::vector<std::string> names_of(const auto& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

/// Warns of those of `there`, a state's or a GGUF file's, that are no weight's.
void tell_excess(const std::vector<std::string>& there, const ModelConfig& config, const Names& names,
                 std::vector<std::string>* warnings) {
  if (warnings == nullptr) return;
  std::set<std::string> known;
  for (const auto& weight : weights(config)) {
    const auto name = names.in_state(weight.name);
    known.insert({name, names.in_file(name)});
  }
  const auto ignored = ignorable_names(config.model_type);
  std::vector<std::string> excess;
  for (const auto& name : there) {
    if (!known.contains(name) && !is_listed(name, ignored)) excess.push_back(name);
  }
  if (auto warning = excess_warning(excess); !warning.empty()) warnings->push_back(std::move(warning));
}

LanguageModel filled(const ModelConfig& config, const StoredState& state, const fs::path& path, const Names& names) {
  if (config.language_head == LanguageHead::none) {
    throw UnsupportedError(fmt::format("{}: architectures: found {}, supported: a class for language modelling",
                                       (path / "config.json").string(), foreign_head(config)));
  }
  check_sizes(config, state, path, names);
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
  load.name = names.in_state;
  load.place = [&](const std::string& name) {
    return fmt::format("{}: tensor {}", path.string(), names.in_file(name));
  };
  load_state_dict(*model, state, load);
  model->eval();
  return model;
}

}  // namespace

bool is_language_model(const fs::path& path) {
  if (gguf_of(path)) return true;
  std::error_code ignored;
  if (!fs::exists(path / "config.json", ignored)) return false;
  const auto config = read_json_file(path / "config.json");
  const auto type = config.is_object() ? config.value("model_type", json()) : json();
  return std::ranges::any_of(
      families(), [&](const Family& family) { return family.is_decoder() && type == std::string(family.model_type); });
}

ModelConfig load_language_config(const fs::path& path, std::vector<std::string>* warnings) {
  if (const auto gguf = gguf_of(path)) {
    const auto file = std::make_shared<const GgufFile>(GgufFile::open(*gguf));
    const auto config = config_of(*file);
    const auto names = gguf_names(config);
    check_sizes(config, state_of(file, config), *gguf, names);
    tell_excess(names_of(file->tensors()), config, names, warnings);
    return config;
  }
  auto config = config_of(path);
  std::error_code ignored;
  if (!fs::exists(path / "model.safetensors", ignored) && !fs::exists(path / "model.safetensors.index.json", ignored)) {
    return config;
  }
  const auto state = state_of(path, config);
  const bool has_head = state.contains(canonical_name(config, Role::language_head));
  if (config.language_head == LanguageHead::own && !has_head && is_of_bare_class(config)) {
    config.language_head = LanguageHead::none;
  }
  const auto names = folder_names(config);
  check_sizes(config, state, path, names);
  tell_excess(names_of(state), config, names, warnings);
  return config;
}

LanguageModel load_language_model(const fs::path& path, std::vector<std::string>* warnings) {
  if (const auto found = gguf_of(path)) {
    const auto file = std::make_shared<const GgufFile>(GgufFile::open(*found));
    const auto config = config_of(*file);
    const auto names = gguf_names(config);
    tell_excess(names_of(file->tensors()), config, names, warnings);
    return filled(config, state_of(file, config), *found, names);
  }
  const auto config = config_of(path);
  const auto state = state_of(path, config);
  const auto names = folder_names(config);
  tell_excess(names_of(state), config, names, warnings);
  return filled(config, state, path, names);
}

std::vector<int64_t> end_ids(const fs::path& path) {
  std::vector<int64_t> ids;
  const auto add = [&](const json& object, const std::string& key, const fs::path& file) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (found == object.end() || found->is_null()) return false;
    for (const auto& id : found->is_array() ? *found : json::array({*found})) {
      if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) {
        throw CheckpointError(fmt::format("{}: {}: found {}, expected the id of a token, or a list of such",
                                          file.string(), key, excerpt(*found)));
      }
      ids.push_back(id.get<int64_t>());
    }
    return true;
  };
  if (const auto gguf = gguf_of(path)) {
    const auto file = GgufFile::open(*gguf);
    for (const auto* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
      add(file.metadata(), key, *gguf);
    return ids;
  }
  for (const auto* name : {"generation_config.json", "config.json"}) {
    const auto file = path / name;
    std::error_code ignored;
    if (fs::exists(file, ignored) && add(read_json_file(file), "eos_token_id", file)) break;
  }
  return ids;
}

}  // namespace compression
