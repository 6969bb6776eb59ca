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

void validate_losses(const std::vector<LossConfig>& losses, Problems& problems) {
  problems.require(!losses.empty(), "losses", "found an empty list, expected at least one loss");
  for (size_t i = 0; i < losses.size(); ++i) problems.nested(join_key("losses", i), losses[i]);
  const bool all_zero = std::ranges::all_of(losses, [](const auto& loss) { return loss.weight == 0; });
  problems.require(losses.empty() || !all_zero, "losses",
                   "found a weight of 0 for every loss, expected at least one above 0");
}

bool on_layers(LossType type) {
  return type == LossType::hidden_states || type == LossType::attentions || type == LossType::relations;
}

}  // namespace

bool asks_outputs(const std::vector<LossConfig>& losses) {
  return std::ranges::any_of(losses, [](const auto& loss) { return loss.type == LossType::logits && loss.weight > 0; });
}

std::vector<Distance> distances(LossType type) {
  switch (type) {
    case LossType::logits:
      return {Distance::kl, Distance::cross_entropy, Distance::mse};
    case LossType::hidden_states:
    case LossType::embeddings:
      return {Distance::mse, Distance::normalized_mse, Distance::cosine};
    case LossType::attentions:
      return {Distance::mse, Distance::kl, Distance::cosine};
    case LossType::labels:
    case LossType::relations:
      return {};
  }
  return {};
}

void validate(const LossConfig& config, Problems& problems) {
  problems.at_least("weight", config.weight, 0);
  problems.above("temperature", config.temperature, 0);
  const auto name = std::string(enum_name(config.type));
  if (config.distance) {
    const auto known = distances(config.type);
    std::string names;
    for (const auto distance : known) names += (names.empty() ? "" : ", ") + std::string(enum_name(distance));
    problems.require(std::ranges::find(known, *config.distance) != known.end(), "distance",
                     "found " + std::string(enum_name(*config.distance)) + ", but " + name + " has " +
                         (known.empty() ? "one distance only; expected none" : "the distances " + names));
  }
  const auto no_layers =
      "a loss of type " + name + " has no layers; expected them with hidden_states, attentions or relations only";
  problems.require(!config.layers || on_layers(config.type), "layers", no_layers);
  problems.require(!config.layer_map || on_layers(config.type), "layer_map", no_layers);
  problems.require(!config.layers || !config.layer_map, "layer_map", "found beside layers, expected one of them");
  problems.require(config.layer_map != LayerMap::minimum_distance || config.type == LossType::hidden_states,
                   "layer_map", "found minimum_distance with " + name + ", expected it with hidden_states only");
  problems.at_least("relation_heads", config.relation_heads, 1);
  problems.require(!config.relation_heads || config.type == LossType::relations, "relation_heads",
                   "found with " + name + ", expected it with relations only");
  if (config.layers) validate_pairs(*config.layers, problems);
}

void validate(const StudentConfig& config, Problems& problems) {
  problems.at_least("hidden_size", config.hidden_size, 1);
  problems.at_least("num_attention_heads", config.num_attention_heads, 1);
  problems.at_least("intermediate_size", config.intermediate_size, 1);
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

void validate(const TeacherConfig& config, Problems& problems) {
  problems.above("weight", config.weight, 0);
  if (config.losses) validate_losses(*config.losses, problems);
}

void validate(const DistillConfig& config, Problems& problems) {
  problems.require(config.teacher || config.teachers, "teacher", "missing, but required; or teachers, for several");
  problems.require(!config.teacher || !config.teachers, "teachers", "found beside teacher, expected one of them");
  if (config.teachers) {
    problems.require(!config.teachers->empty(), "teachers", "found an empty list, expected at least one teacher");
    for (size_t i = 0; i < config.teachers->size(); ++i) {
      problems.nested(join_key("teachers", i), (*config.teachers)[i]);
    }
  }
  problems.nested("student", config.student);
  validate_losses(config.losses, problems);
  validate(config.train, problems);
}

}  // namespace compression::distill
