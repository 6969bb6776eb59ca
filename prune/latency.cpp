#include "prune/latency.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "compress/evaluate/timing.h"  // measure
#include "compress/model/encoder.h"    // EncoderLayer

namespace compression::prune {
namespace {

constexpr double seconds_each = 0.1;
constexpr int64_t steps = 8;  // sizes to measure, at most, of each kind

double layer_ms(const ModelConfig& config, BlockSpec shape, int64_t length) {
  const torch::NoGradGuard no_grad;
  shape.attention.position_heads.clear();
  if (config.relative.rows > 0) shape.attention.positions = Positions::none;  // without the table that layers share
  EncoderLayer layer(config, shape);
  layer->eval();
  for (auto& parameter : layer->parameters()) parameter.fill_(0.01);
  const auto x = torch::full({1, length, config.hidden_size}, 0.5, torch::kFloat);
  const AttentionContext context{.pairs = {}, .length = length};
  EncoderOutput none;
  return measure([&] { layer->forward(x, context, {}, none); }, seconds_each).median_ms;
}

/// 1 to `all` in about equal steps.
std::set<int64_t> sizes(int64_t all) {
  std::set<int64_t> result{1};
  for (int64_t i = 1; i <= steps; ++i) result.insert(std::max<int64_t>(1, all * i / steps));
  return result;
}

struct Line {
  double slope, at_zero;
};

/// The line through the entries, by least squares; its slope is not below 0.
Line line_through(const std::vector<LatencyTable::Entry>& entries) {
  const auto n = static_cast<double>(entries.size());
  double x = 0.0, y = 0.0, xx = 0.0, xy = 0.0;
  for (const auto& [units, ms] : entries) {
    const auto u = static_cast<double>(units);
    x += u, y += ms, xx += u * u, xy += u * ms;
  }
  const double spread = n * xx - x * x;
  const double slope = spread > 0.0 ? std::max(0.0, (n * xy - x * y) / spread) : 0.0;
  return {slope, (y - slope * x) / n};
}

}  // namespace

LatencyTable measure_layers(const ModelConfig& config, int64_t length) {
  auto all = largest_block(config);
  for (const auto kind : {UnitKind::heads, UnitKind::intermediate}) {
    units_of(all, kind) = std::max<int64_t>(units_of(all, kind), 1);
  }
  LatencyTable table;
  auto shape = all;
  for (const auto heads : sizes(all.attention.heads)) {
    shape.attention.heads = heads;
    table.heads.push_back({heads, layer_ms(config, shape, length)});
  }
  shape = all;
  for (const auto units : sizes(all.mlp.units)) {
    shape.mlp.units = units;
    table.intermediate.push_back({units, layer_ms(config, shape, length)});
  }
  const auto by_heads = line_through(table.heads);
  table.per_head = by_heads.slope;
  table.per_unit = line_through(table.intermediate).slope;
  // At no head a layer has all FFN units still.
  table.fixed = std::max(0.0, by_heads.at_zero - table.per_unit * static_cast<double>(all.mlp.units));
  return table;
}

nlohmann::json latency_json(const LatencyTable& table) {
  const auto pairs = [](const std::vector<LatencyTable::Entry>& entries) {
    auto all = nlohmann::json::array();
    for (const auto& [units, ms] : entries) all.push_back({units, ms});
    return all;
  };
  return {{"heads", pairs(table.heads)},
          {"intermediate", pairs(table.intermediate)},
          {"per_head_ms", table.per_head},
          {"per_unit_ms", table.per_unit},
          {"fixed_ms", table.fixed}};
}

}  // namespace compression::prune
