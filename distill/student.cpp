#include "distill/student.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"             // ConfigError, UnsupportedError
#include "compress/model/resize.h"           // resized
#include "compress/state_dict/state_dict.h"  // state_dict, load_state_dict

namespace compression::distill {
namespace {

void shrink(const char* key, std::optional<int64_t> wanted, int64_t& size) {
  if (!wanted) return;
  if (*wanted < 1 || *wanted > size) {
    throw ConfigError(fmt::format("student.{}: found {}, expected 1 to {}, which the model has", key, *wanted, size));
  }
  size = *wanted;
}

/// As ChooseFeatures: units of `width`, evenly spaced.
torch::Tensor evenly_spaced(int64_t all, int64_t count, int64_t width) {
  const auto units = torch::arange(count / width, torch::kLong) * (all / width) / (count / width);
  return (units.to(torch::kLong).unsqueeze(1) * width + torch::arange(width, torch::kLong)).flatten();
}

}  // namespace

Model keep_layers(const Model& from, const std::vector<int64_t>& layers) {
  auto config = from->config();
  const auto& all = from->config().layers;
  const auto& shared = from->config().encoder.shared_layers;
  config.layers.clear();
  config.encoder.shared_layers.clear();
  std::vector<int64_t> weights;  // of `from`, by the student's numbers for them
  for (const auto layer : layers) {
    if (layer < 0 || layer >= static_cast<int64_t>(all.size())) {
      throw ConfigError(fmt::format("student.layers: layer {}: the model has layers 0 to {}", layer, all.size() - 1));
    }
    config.layers.push_back(all[static_cast<size_t>(layer)]);
    if (shared.empty()) {
      weights.push_back(layer);
      continue;
    }
    const auto own = shared[static_cast<size_t>(layer)];
    auto at = std::ranges::find(weights, own);
    if (at == weights.end()) at = weights.insert(at, own);
    config.encoder.shared_layers.push_back(at - weights.begin());
  }
  layer_groups(config);  // throws if a config.json could not say it
  const std::string prefix = "bert.encoder.layer.";
  const auto source = state_dict(*from);
  StateDict kept;
  for (const auto& [name, tensor] : source) {
    if (!name.starts_with(prefix)) kept[name] = tensor;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto own = fmt::format("{}{}.", prefix, weights[i]);
    for (auto it = source.lower_bound(own); it != source.end() && it->first.starts_with(own); ++it) {
      kept[fmt::format("{}{}.{}", prefix, i, it->first.substr(own.size()))] = it->second;
    }
  }
  Model student(config);
  load_state_dict(*student, kept, {});
  student->train(from->is_training());
  return student;
}

Model select_weights(const Model& from, const StudentShape& shape) {
  auto config = from->config();
  if (shape.hidden_size) {
    auto hidden = config.hidden_size;
    shrink("hidden_size", shape.hidden_size, hidden);
    config = with_hidden_size(config, hidden);
  }
  for (auto& layer : config.layers) {
    if (shape.num_attention_heads && config.encoder.relative == RelativeAttention::bias) {
      throw UnsupportedError(
          fmt::format("student.num_attention_heads: the attention of {} has a bias for each head; prune "
                      "heads instead",
                      config.model_type));
    }
    shrink("num_attention_heads", shape.num_attention_heads, layer.num_attention_heads);
    shrink("intermediate_size", shape.intermediate_size, layer.intermediate_size);
  }
  return resized(from, config, evenly_spaced);
}

}  // namespace compression::distill
