#include "compress/spec/cost.h"

#include <algorithm>
#include <vector>

#include "compress/spec/relative_rows.h"  // relative_rows
#include "compress/spec/weights.h"        // weights

namespace compression {
namespace {

/// Pairs of a query and a key that attention looks at.
int64_t attended_pairs(const AttentionSpec& attention, int64_t length) {
  const auto reach = attention.window > 0 ? std::min(attention.window, length - 1) : length - 1;
  const auto before = length + reach * length - reach * (reach + 1) / 2;  // keys up to the query's place
  return attention.causal ? before : 2 * before - length;
}

}  // namespace

int64_t parameter_count(const ModelConfig& config) {
  return static_cast<int64_t>(number_count(config));
}

int64_t encoder_macs(const ModelConfig& config, int64_t length) {
  const auto& relative = config.relative;
  int64_t rows = 0;  // of the table of relative positions, as keys or queries
  if (relative.content_to_position || relative.position_to_content) {
    const auto used = relative_rows(config.positions(), relative, length);
    const auto [least, most] = std::ranges::minmax(used);
    rows = (relative.content_to_position + relative.position_to_content) * (most - least + 1);
  }
  std::vector<int64_t> products(config.layers.size() + config.decoder.size(), 0);  // of a block's, with one token
  for (const auto& weight : weights(config)) {
    const bool of_positions = weight.role == Role::position_key || weight.role == Role::position_query;
    if (weight.block < 0 || weight.axes.size() < 2 || of_positions) continue;
    products[static_cast<size_t>(weight.block)] += static_cast<int64_t>(weight.count());
  }
  int64_t macs = 0;
  const auto add = [&](const BlockSpec& block, size_t weights) {
    const auto& attention = block.attention;
    macs += length * products[weights];
    macs += 2 * attended_pairs(attention, length) * attention.width();
    macs += rows * attention.width() * (config.hidden_size + length);
    if (block.cross) macs += 2 * attended_pairs(*block.cross, length) * block.cross->width();
  };
  for (size_t i = 0; i < config.layers.size(); ++i) add(config.layers[i], config.first_use(i));
  for (size_t i = 0; i < config.decoder.size(); ++i) add(config.decoder[i], config.layers.size() + i);
  return macs;
}

}  // namespace compression
