#include "distill/student.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"    // ConfigError, UnsupportedError
#include "compress/model/resize.h"  // resized

namespace compression::distill {
namespace {

void shrink(const char* key, std::optional<int64_t> wanted, int64_t& size) {
  if (!wanted) return;
  if (*wanted < 1 || *wanted > size) {
    throw ConfigError(fmt::format("student.{}: found {}, expected 1 to {}, which the model has", key, *wanted, size));
  }
  size = *wanted;
}

/// As ChooseFeatures: evenly spaced units.
torch::Tensor evenly_spaced(Label, int64_t all, int64_t count, int64_t width) {
  const auto units = torch::arange(count / width, torch::kLong) * (all / width) / (count / width);
  return (units.to(torch::kLong).unsqueeze(1) * width + torch::arange(width, torch::kLong)).flatten();
}

}  // namespace

Model keep_layers(const Model& from, const std::vector<int64_t>& layers) {
  const auto count = static_cast<int64_t>(from->config().layers.size());
  for (const auto layer : layers) {
    if (layer < 0 || layer >= count) {
      throw ConfigError(fmt::format("student.layers: layer {}: the model has layers 0 to {}", layer, count - 1));
    }
  }
  return resized(from, with_layers(from->config(), layers), evenly_spaced, layers);
}

Model select_weights(const Model& from, const StudentShape& shape) {
  auto config = from->config();
  if (shape.hidden_size) {
    auto hidden = config.hidden_size;
    shrink("hidden_size", shape.hidden_size, hidden);
    config = with_hidden_size(config, hidden);
  }
  for (auto& layer : config.layers) {
    if (shape.num_attention_heads && config.positions() == Positions::bias) {
      throw UnsupportedError(
          fmt::format("student.num_attention_heads: the attention of {} has a bias for each head; prune "
                      "heads instead",
                      config.model_type));
    }
    shrink("num_attention_heads", shape.num_attention_heads, layer.attention.heads);
    shrink("intermediate_size", shape.intermediate_size, layer.mlp.units);
  }
  return resized(from, config, evenly_spaced);
}

}  // namespace compression::distill
