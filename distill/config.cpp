#include "distill/config.h"

#include <algorithm>

namespace compression::distill {
namespace {

void validate_pairs(const std::vector<std::vector<int64_t>>& pairs, Problems& problems) {
  problems.require(!pairs.empty(), "layers",
                   "found an empty list, expected at least one pair [student layer, teacher layer]");
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::string key = join_key("layers", i);
    problems.require(
        pairs[i].size() == 2, key,
        "found " + std::to_string(pairs[i].size()) + " numbers, expected the pair [student layer, teacher layer]");
    for (size_t j = 0; j < pairs[i].size(); ++j) problems.at_least(join_key(key, j), pairs[i][j], 0);
  }
}

}  // namespace

void validate(const LossConfig& config, Problems& problems) {
  problems.at_least("weight", config.weight, 0);
  problems.above("temperature", config.temperature, 0);
  if (!config.layers) return;
  const bool has_layers = config.type == LossType::hidden_states || config.type == LossType::attentions;
  problems.require(has_layers, "layers",
                   "a loss of type " + std::string(enum_name(config.type)) +
                       " has no layers; expected them with hidden_states or attentions only");
  validate_pairs(*config.layers, problems);
}

void validate(const StudentConfig& config, Problems& problems) {
  if (!config.layers) return;
  const std::vector<int64_t>& layers = *config.layers;
  problems.require(!layers.empty(), "layers", "found an empty list, expected at least one layer");
  for (size_t i = 0; i < layers.size(); ++i) {
    problems.at_least(join_key("layers", i), layers[i], 0);
    problems.require(std::find(layers.begin(), layers.begin() + i, layers[i]) == layers.begin() + i,
                     join_key("layers", i),
                     "found layer " + std::to_string(layers[i]) + " again, expected each layer once");
  }
}

void validate(const DistillConfig& config, Problems& problems) {
  problems.nested("student", config.student);
  problems.require(!config.losses.empty(), "losses", "found an empty list, expected at least one loss");
  for (size_t i = 0; i < config.losses.size(); ++i) problems.nested(join_key("losses", i), config.losses[i]);
  const bool all_zero =
      std::all_of(config.losses.begin(), config.losses.end(), [](const auto& loss) { return loss.weight == 0; });
  problems.require(config.losses.empty() || !all_zero, "losses",
                   "found a weight of 0 for every loss, expected at least one above 0");
  validate(config.train, problems);
}

}  // namespace compression::distill
