#include "compress/engine/read_network.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/base/error.h"             // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"         // read_json_file
#include "compress/checkpoint/checkpoint.h"  // open_checkpoint
#include "compress/engine/network_state.h"   // network_state, runtime_lacks
#include "compress/families/model_config.h"  // read_model_config
#include "compress/families/name_table.h"    // canonical_names, checkpoint_names, joined_tensors

namespace compression {
namespace {

/// Tensors of the file that hold several of ours, taken apart.
class PartsOfJoined {
 public:
  explicit PartsOfJoined(const ModelConfig& config) {
    for (const auto& joined : joined_tensors(config)) {
      int64_t rows = 0, first = 0;
      for (const auto& part : joined.parts) rows += part.rows;
      for (const auto& part : joined.parts) {
        parts_[without_leaf(part.name)] = {without_leaf(joined.name), first, part.rows, rows};
        first += part.rows;
      }
    }
  }

  /// By its canonical name; undefined where there is none.
  template <class Read>
  HostTensor read(const std::string& name, Read&& read_whole) const {
    const auto found = parts_.find(without_leaf(name));
    if (found == parts_.end()) return {};
    const auto& [joined, first, count, rows] = found->second;
    const auto leaf = name.substr(found->first.size());
    auto part = read_whole(joined + leaf);
    if (!part.defined() || leaf == ".input_scale") return part;
    if (part.shape.empty() || part.shape.front() != rows) {
      throw CheckpointError(fmt::format("tensor {}{}: found {} rows, expected {}", joined, leaf,
                                        part.shape.empty() ? 1 : part.shape.front(), rows));
    }
    const auto row_bytes = part.bytes() / rows;
    part.shape.front() = count;
    part.data = std::shared_ptr<const void>(part.data, part.template as<char>() + first * row_bytes);
    return part;
  }

 private:
  static std::string without_leaf(const std::string& name) { return name.substr(0, name.rfind('.')); }

  struct Part {
    std::string joined;
    int64_t first = 0, count = 0, rows = 0;
  };
  std::map<std::string, Part> parts_;  // by module
};

}  // namespace

Network read_network(const std::filesystem::path& folder) {
  const auto file = folder / "config.json";
  Network network{.config = read_model_config(read_json_file(file), file.string()), .state = {}};
  const auto& config = network.config;
  if (const auto lacks = runtime_lacks(config); !lacks.empty()) {
    throw UnsupportedError(fmt::format("{}: the runtime has no kernels for {}", folder.string(), lacks));
  }
  const auto files = open_checkpoint(folder);
  std::vector<std::string> names;
  for (const auto& [name, tensors] : files) names.push_back(name);
  std::map<std::string, std::string> in_file;  // by canonical name
  for (const auto& [name, canonical] : canonical_names(config.model_type, names).of) in_file.emplace(canonical, name);
  const auto canonical = checkpoint_names(config);
  const auto read = [&](const std::string& name) -> HostTensor {
    const auto found = in_file.find(name);
    return found == in_file.end() ? HostTensor() : files.at(found->second)->read(found->second);
  };
  const PartsOfJoined parts(config);
  network.state = network_state(config, [&](const std::string& own) {
    const auto name = canonical(own);
    const auto tensor = read(name);
    return tensor.defined() ? tensor : parts.read(name, read);
  });
  return network;
}

}  // namespace compression
