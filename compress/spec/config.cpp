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
  const auto& shared = encoder.shared_layers;
  return shared.empty() ? i : static_cast<size_t>(std::ranges::find(shared, shared.at(i)) - shared.begin());
}

double weight_count(const ModelConfig& config) {
  const auto hidden = static_cast<double>(config.hidden_size), narrow = static_cast<double>(config.embedding_size());
  double tables = static_cast<double>(config.vocab_size) + static_cast<double>(config.type_vocab_size);
  if (config.encoder.position_embeddings) tables += static_cast<double>(config.max_position_embeddings);
  double rows = static_cast<double>(config.encoder.relative_rows) + static_cast<double>(config.labels.size()) + hidden;
  if (config.encoder.embedding_projection) rows += narrow;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (config.first_use(i) < i) continue;
    const auto& layer = config.layers[i];
    const double projections = config.encoder.own_position_projections ? 6.0 : 4.0;
    rows +=
        projections * static_cast<double>(layer.num_attention_heads) * static_cast<double>(config.attention_head_size);
    rows += 2.0 * static_cast<double>(layer.intermediate_size);
  }
  double steps = 0.0;
  if (traits_of(config.task).head == HeadKind::embedding) {
    for (const auto& step : config.embedding.steps)
      steps += static_cast<double>(step.in) * static_cast<double>(step.out);
  }
  return rows * hidden + tables * narrow + steps;
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
  const auto& weights = config.encoder.shared_layers;
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
