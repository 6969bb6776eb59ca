#include "compress/spec/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compress/base/error.h"  // UnsupportedError

namespace compression {

int64_t ModelConfig::embedding_width() const {
  int64_t width = pooled_width();
  for (const auto& step : embedding.steps) {
    if (step.dense) width = step.out;
  }
  return width;
}

size_t ModelConfig::first_use(size_t i) const {
  if (shared_layers.empty()) return i;
  return static_cast<size_t>(std::ranges::find(shared_layers, shared_layers.at(i)) - shared_layers.begin());
}

ModelConfig with_layers(const ModelConfig& config, const std::vector<int64_t>& layers) {
  auto result = config;
  result.layers.clear();
  result.shared_layers.clear();
  std::vector<int64_t> own;  // of `config`, by the result's numbers for them
  for (const auto layer : layers) {
    result.layers.push_back(config.layers.at(static_cast<size_t>(layer)));
    if (config.shared_layers.empty()) continue;
    const auto weights = config.shared_layers[static_cast<size_t>(layer)];
    auto at = std::ranges::find(own, weights);
    if (at == own.end()) at = own.insert(at, weights);
    result.shared_layers.push_back(at - own.begin());
  }
  // Where the first block reads the input as it is, the first that stays does, and no other can.
  if (!config.layers.front().attention_norm && !result.layers.empty()) {
    result.layers.front().attention_norm = false;
    for (size_t i = 1; i < layers.size(); ++i) {
      if (result.layers[i].attention_norm) continue;
      throw UnsupportedError(fmt::format("layer {} behind another: it has no norm before its attention", layers[i]));
    }
  }
  layer_groups(result);
  return result;
}

bool is_classic(const ModelConfig& config) {
  const auto classic = [](const BlockSpec& block) {
    const auto& [attention, mlp, norm, place, attention_norm, cross] = block;
    return place == NormPlace::after && norm.kind == NormKind::layer && norm.bias && !mlp.gated && mlp.bias && !cross &&
           attention.bias && attention.output_bias && attention.group == 1 && !attention.causal &&
           attention.window == 0 && attention.positions != Positions::rotary &&
           attention.positions != Positions::alibi && !attention.head_norm;
  };
  const auto& input = config.input;
  return input.norm && input.first_position == 0 && !input.scaled && !config.final_norm && config.decoder.empty() &&
         std::ranges::all_of(config.layers, classic);
}

BlockSpec largest_block(const ModelConfig& config) {
  auto largest = config.layers.front();
  for (const auto& layer : config.layers) {
    for (const auto kind : {UnitKind::heads, UnitKind::intermediate}) {
      units_of(largest, kind) = std::max(units_of(largest, kind), units_of(layer, kind));
    }
  }
  return largest;
}

std::vector<int64_t> shared_layers(const LayerGroups& groups) {
  std::vector<int64_t> weights;
  // As transformers computes it, rounding included.
  const double repeats_of_group = static_cast<double>(groups.repeats) / static_cast<double>(groups.groups);
  for (int64_t repeat = 0; repeat < groups.repeats; ++repeat) {
    const auto group = static_cast<int64_t>(static_cast<double>(repeat) / repeats_of_group);
    for (int64_t i = 0; i < groups.inner; ++i) weights.push_back(group * groups.inner + i);
  }
  return weights;
}

LayerGroups layer_groups(const ModelConfig& config) {
  const auto& weights = config.shared_layers;
  const auto count = static_cast<int64_t>(weights.size());
  if (count == 0) return {.repeats = static_cast<int64_t>(config.layers.size())};
  const auto different = *std::ranges::max_element(weights) + 1;
  for (int64_t inner = 1; inner <= different; ++inner) {
    const LayerGroups groups{.repeats = count / inner, .groups = different / inner, .inner = inner};
    if (count % inner != 0 || different % inner != 0) continue;
    if (shared_layers(groups) == weights) return groups;
  }
  throw UnsupportedError(
      fmt::format("layers that share weights in the order {}: supported are groups of {}'s config.json, each as often "
                  "as the others",
                  fmt::join(weights, ", "), config.model_type));
}

}  // namespace compression
