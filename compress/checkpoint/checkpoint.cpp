#include "compress/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>

#include "compress/base/error.h"              // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"          // read_json_file, excerpt
#include "compress/checkpoint/gguf.h"         // GgufFile, gguf_file
#include "compress/checkpoint/safetensors.h"  // SafetensorsFile

namespace compression {
namespace {

using nlohmann::json;
using std::filesystem::path;

std::shared_ptr<const TensorFile> open_file(const path& file_path) {
  if (file_path.extension() == ".gguf") return std::make_shared<const GgufFile>(GgufFile::open(file_path));
  return std::make_shared<const SafetensorsFile>(SafetensorsFile::open(file_path));
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

TensorFiles open_shards(const path& index_path) {
  TensorFiles tensors;
  std::vector<std::string> missing_shards, missing_tensors;
  for (const auto& [shard, names] : read_index(index_path)) {
    const auto shard_path = index_path.parent_path() / shard;
    if (!is_there(shard_path)) {
      missing_shards.push_back(shard);
      continue;
    }
    const auto file = open_file(shard_path);
    for (const auto& name : names) {
      if (file->tensors().contains(name)) {
        tensors[name] = file;
      } else {
        missing_tensors.push_back(fmt::format("{} of {}", excerpt(json(name)), shard));
      }
    }
  }
  std::vector<std::string> problems;
  if (!missing_shards.empty()) problems.push_back(counted(missing_shards, "shards missing"));
  if (!missing_tensors.empty()) problems.push_back(counted(missing_tensors, "tensors missing from their shards"));
  if (!problems.empty()) throw CheckpointError(fmt::format("{}: {}", index_path.string(), fmt::join(problems, "; ")));
  return tensors;
}

/// The one file of a folder's weights; absent: shards. Throws CheckpointError, UnsupportedError if the folder has none
/// that can be read.
std::optional<path> single_file(const path& folder) {
  if (!is_there(folder)) throw CheckpointError(folder.string() + ": found no such folder, expected a checkpoint");
  if (is_there(folder / "model.safetensors")) return folder / "model.safetensors";
  if (is_there(folder / "model.safetensors.index.json")) return std::nullopt;
  if (auto gguf = gguf_file(folder)) return gguf;
  if (is_there(folder / "pytorch_model.bin") || is_there(folder / "pytorch_model.bin.index.json")) {
    throw UnsupportedError(folder.string() +
                           ": found pytorch_model.bin, supported: model.safetensors; convert it, for instance with "
                           "save_pretrained() of transformers");
  }
  throw CheckpointError(folder.string() +
                        ": found no weights, expected model.safetensors, model.safetensors.index.json or a GGUF file");
}

/// Every file of the folder's weights, and the tensors that are read from it; absent: all.
std::map<path, std::optional<Names>> weight_files(const path& folder) {
  if (auto file = single_file(folder)) return {{*file, std::nullopt}};
  std::map<path, std::optional<Names>> files;
  for (const auto& [shard, names] : read_index(folder / "model.safetensors.index.json")) files[folder / shard] = names;
  return files;
}

}  // namespace

TensorFiles open_checkpoint(const path& folder) {
  const auto single = single_file(folder);
  if (!single) return open_shards(folder / "model.safetensors.index.json");
  const auto file = open_file(*single);
  TensorFiles tensors;
  for (const auto& [name, info] : file->tensors()) tensors[name] = file;
  return tensors;
}

TensorShapes read_tensor_shapes(const path& folder) {
  TensorShapes shapes;
  for (const auto& [place, names] : weight_files(folder)) {
    const auto file = open_file(place);
    for (const auto& [name, info] : file->tensors()) {
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

std::string counted(const std::vector<std::string>& names, std::string_view what) {
  constexpr size_t shown = 5;
  const std::vector<std::string> first(names.begin(), names.begin() + std::min(shown, names.size()));
  return fmt::format("{} {} ({}{})", names.size(), what, fmt::join(first, ", "), names.size() > shown ? ", ..." : "");
}

std::string excess_warning(const std::vector<std::string>& names) {
  if (names.empty()) return "";
  return counted(names, names.size() == 1 ? "tensor in excess is ignored" : "tensors in excess are ignored");
}

bool is_listed(const std::string& name, const std::vector<std::string>& list) {
  return std::ranges::any_of(list, [&](const std::string& entry) {
    if (entry.starts_with('.')) return name.ends_with(entry);
    return entry.ends_with('.') ? name.starts_with(entry) : name == entry;
  });
}

}  // namespace compression
