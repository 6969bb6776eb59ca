#include "compress/engine/read_network.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/base/error.h"             // UnsupportedError
#include "compress/base/json_file.h"         // read_json_file
#include "compress/checkpoint/checkpoint.h"  // open_checkpoint
#include "compress/engine/network_state.h"   // can_pack, network_state
#include "compress/families/model_config.h"  // read_model_config
#include "compress/families/name_table.h"    // canonical_names, checkpoint_names

namespace compression {

Network read_network(const std::filesystem::path& folder) {
  const auto file = folder / "config.json";
  Network network{.config = read_model_config(read_json_file(file), file.string()), .state = {}};
  const auto& config = network.config;
  if (!can_pack(config)) {
    throw UnsupportedError(
        fmt::format("{}: the runtime has no kernels for its network, a {}", folder.string(), config.model_type));
  }
  const auto files = open_checkpoint(folder);
  std::vector<std::string> names;
  for (const auto& [name, tensors] : files) names.push_back(name);
  std::map<std::string, std::string> in_file;  // by canonical name
  for (const auto& [name, canonical] : canonical_names(config.model_type, names).of) in_file.emplace(canonical, name);
  const auto canonical = checkpoint_names(config);
  network.state = network_state(config, [&](const std::string& own) -> HostTensor {
    const auto found = in_file.find(canonical(own));
    return found == in_file.end() ? HostTensor() : files.at(found->second)->read(found->second);
  });
  return network;
}

}  // namespace compression
