#include "compress/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "compress/base/error.h"              // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"          // read_json_file, excerpt
#include "compress/checkpoint/safetensors.h"  // SafetensorsFile, write_safetensors

namespace compression {
namespace {

using nlohmann::json;
using std::filesystem::path;

StateDict read_file(const path& file_path) {
  const auto file = SafetensorsFile::open(file_path);
  StateDict state;
  for (const auto& [name, info] : file.tensors()) state[name] = file.read(name);
  return state;
}

bool is_there(const path& file) {
  std::error_code unreadable;  // then it is not there for us
  return exists(file, unreadable);
}

using Names = std::set<std::string, std::less<>>;

/// Names of the tensors of every shard.
std::map<std::string, Names> read_index(const path& index_path) {
  const auto index = read_json_file(index_path);
  const auto where = index_path.string();
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw CheckpointError(where + ": weight_map: found none, expected an object");
  }
  std::map<std::string, Names> shards;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    const auto at = fmt::format("{}: weight_map: {}", where, excerpt(json(name)));
    if (!shard.is_string()) throw CheckpointError(fmt::format("{}: found {}, expected a string", at, excerpt(shard)));
    const auto& file_name = shard.get_ref<const std::string&>();
    if (file_name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        !file_name.ends_with(".safetensors")) {
      throw CheckpointError(
          fmt::format("{}: found {}, expected the name of a .safetensors file of this folder", at, excerpt(shard)));
    }
    shards[file_name].insert(name);
  }
  return shards;
}

StateDict read_shards(const path& index_path) {
  StateDict state;
  std::vector<std::string> missing_shards, missing_tensors;
  for (const auto& [shard, names] : read_index(index_path)) {
    const auto shard_path = index_path.parent_path() / shard;
    if (!is_there(shard_path)) {
      missing_shards.push_back(shard);
      continue;
    }
    const auto file = SafetensorsFile::open(shard_path);
    for (const auto& name : names) {
      if (file.tensors().contains(name)) {
        state[name] = file.read(name);
      } else {
        missing_tensors.push_back(fmt::format("{} of {}", excerpt(json(name)), shard));
      }
    }
  }
  std::vector<std::string> problems;
  if (!missing_shards.empty()) problems.push_back(counted(missing_shards, "shards missing"));
  if (!missing_tensors.empty()) problems.push_back(counted(missing_tensors, "tensors missing from their shards"));
  if (!problems.empty()) throw CheckpointError(fmt::format("{}: {}", index_path.string(), fmt::join(problems, "; ")));
  return state;
}

/// Throws CheckpointError, UnsupportedError if the folder has none that can be read.
void require_weights(const path& folder) {
  if (!is_there(folder)) throw CheckpointError(folder.string() + ": found no such folder, expected a checkpoint");
  if (is_there(folder / "model.safetensors") || is_there(folder / "model.safetensors.index.json")) return;
  if (is_there(folder / "pytorch_model.bin") || is_there(folder / "pytorch_model.bin.index.json")) {
    throw UnsupportedError(folder.string() +
                           ": found pytorch_model.bin, supported: model.safetensors; convert it, for instance with "
                           "save_pretrained() of transformers");
  }
  throw CheckpointError(folder.string() +
                        ": found no weights, expected model.safetensors or model.safetensors.index.json");
}

/// Every file of the folder's weights, and the tensors that are read from it; absent: all.
std::map<path, std::optional<Names>> weight_files(const path& folder) {
  require_weights(folder);
  if (is_there(folder / "model.safetensors")) return {{folder / "model.safetensors", std::nullopt}};
  std::map<path, std::optional<Names>> files;
  for (const auto& [shard, names] : read_index(folder / "model.safetensors.index.json")) files[folder / shard] = names;
  return files;
}

bool is_listed(const std::string& name, const std::vector<std::string>& list) {
  return std::ranges::any_of(
      list, [&](const std::string& entry) { return entry.ends_with('.') ? name.starts_with(entry) : name == entry; });
}

bool fits(const torch::Tensor& found, const torch::Tensor& expected) {
  const auto is_number = [](const torch::Tensor& t) { return t.is_floating_point() && t.element_size() > 1; };
  const bool both_floating = is_number(found) && is_number(expected);
  return found.sizes() == expected.sizes() && (both_floating || found.scalar_type() == expected.scalar_type());
}

/// A tensor that was read, and what became of it in the module's dtype.
void check_finite(const torch::Tensor& found, const torch::Tensor& target, const std::function<std::string()>& place) {
  if (const auto odd = not_finite(found); !odd.empty()) {
    throw CheckpointError(fmt::format("{}: found {}, expected finite numbers", place(), odd));
  }
  if (found.scalar_type() == target.scalar_type()) return;
  if (const auto odd = not_finite(target); !odd.empty()) {
    throw CheckpointError(fmt::format("{}: found a number that becomes {} as {}, expected one that fits", place(), odd,
                                      c10::toString(target.scalar_type())));
  }
}

std::string type_text(const torch::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes().vec(), ", "));
}

}  // namespace

TensorShapes read_tensor_shapes(const path& folder) {
  TensorShapes shapes;
  for (const auto& [file, names] : weight_files(folder)) {
    for (const auto& [name, info] : read_safetensors_header(file)) {
      if (!names || names->contains(name)) shapes[name] = info.shape;
    }
  }
  return shapes;
}

int64_t weight_bytes(const path& folder) {
  int64_t bytes = 0;
  for (const auto& [file, names] : weight_files(folder))
    bytes += static_cast<int64_t>(std::filesystem::file_size(file));
  return bytes;
}

path file_of_tensor(const path& folder, const std::string& name) {
  for (const auto& [file, names] : weight_files(folder)) {
    if (!names || names->contains(name)) return file;
  }
  return folder;
}

StateDict read_state_dict(const path& folder) {
  require_weights(folder);
  if (is_there(folder / "model.safetensors")) return read_file(folder / "model.safetensors");
  return read_shards(folder / "model.safetensors.index.json");
}

void write_state_dict(const path& folder, const StateDict& state) {
  write_safetensors(folder / "model.safetensors", state);
}

LoadReport load_state_dict(torch::nn::Module& module, const StateDict& state, const LoadOptions& options) {
  LoadReport report;
  std::vector<std::string> missing, unexpected, misshapen;
  StateDict targets;
  for (auto& [name, tensor] : state_dict(module)) targets[options.name ? options.name(name) : name] = tensor;
  for (const auto& [name, target] : targets) {
    const auto found = state.find(name);
    if (found == state.end()) {
      (is_listed(name, options.allow_missing) ? report.left_as_initialised : missing).push_back(name);
    } else if (!fits(found->second, target)) {
      misshapen.push_back(fmt::format("{}: found {}, expected {}", name, type_text(found->second), type_text(target)));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!targets.contains(name)) (is_listed(name, options.ignore) ? report.ignored : unexpected).push_back(name);
  }
  if (options.allow_unexpected) std::swap(report.unexpected, unexpected);

  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back(counted(missing, "tensors missing"));
  if (!unexpected.empty()) problems.push_back(counted(unexpected, "tensors unexpected"));
  if (!misshapen.empty()) problems.push_back(counted(misshapen, "tensors that do not fit"));
  if (!problems.empty()) throw CheckpointError(fmt::format("{}: {}", options.source, fmt::join(problems, "; ")));

  const torch::NoGradGuard no_grad;
  for (auto& [name, target] : targets) {
    const auto found = state.find(name);
    if (found == state.end()) continue;
    target.copy_(found->second);
    if (options.place) check_finite(found->second, target, [&, &name = name] { return options.place(name); });
  }
  return report;
}

std::string not_finite(const torch::Tensor& tensor) {
  if (!tensor.is_floating_point() || tensor.numel() == 0) return "";
  const auto values = tensor.detach();
  const auto [least, most] = values.aminmax();  // NaN if any is: one pass, and no copy
  if (std::isfinite(least.item<double>()) && std::isfinite(most.item<double>())) return "";
  const auto place = values.isfinite().logical_not().nonzero()[0].to(torch::kCPU).contiguous();
  const std::vector<int64_t> at(place.data_ptr<int64_t>(), place.data_ptr<int64_t>() + place.numel());
  auto value = values;
  for (const auto index : at) value = value[index];
  const auto number = value.item<double>();
  return fmt::format("{} at [{}]", std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf", fmt::join(at, ", "));
}

std::string counted(const std::vector<std::string>& names, std::string_view what) {
  constexpr size_t shown = 5;
  const std::vector<std::string> first(names.begin(), names.begin() + std::min(shown, names.size()));
  return fmt::format("{} {} ({}{})", names.size(), what, fmt::join(first, ", "), names.size() > shown ? ", ..." : "");
}

StateDict state_dict(const torch::nn::Module& module) {
  StateDict state;
  for (const auto& item : module.named_parameters()) state[item.key()] = item.value().detach();
  for (const auto& item : module.named_buffers()) state[item.key()] = item.value().detach();
  return state;
}

}  // namespace compression
