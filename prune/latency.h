#pragma once
// How long layers take on this machine, by their numbers of heads and FFN units.

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig

namespace compression::prune {

/// Milliseconds of one encoder layer for one text: on the CPU, in float32, with LibTorch's operators and its number of
/// threads.
struct LatencyTable {
  struct Entry {
    int64_t units = 0;
    double ms = 0.0;
  };
  std::vector<Entry> heads, intermediate;  // a layer with so many, and with all of the other kind
  double per_head = 0.0, per_unit = 0.0;   // slopes of lines through them (least squares), not below 0
  double fixed = 0.0;                      // what a layer takes besides, not below 0

  double of(int64_t heads, int64_t intermediate) const {
    return fixed + per_head * static_cast<double>(heads) + per_unit * static_cast<double>(intermediate);
  }
};

/// Measures layers of the config's largest numbers of heads and FFN units and of fewer, for a text of `length` tokens.
/// About two seconds.
LatencyTable measure_layers(const ModelConfig& config, int64_t length);

/// {"heads": [[1, ms], ...], "intermediate": [...], "per_head_ms": x, "per_unit_ms": y, "fixed_ms": z}
nlohmann::json latency_json(const LatencyTable& table);

}  // namespace compression::prune
