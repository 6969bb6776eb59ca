#include "prune/importance.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "compress/workflow/error.h"   // CheckpointError, DataError
#include "compress/workflow/fields.h"  // enum_name

namespace compression::prune {
namespace {

/// Gives every group a mask of ones that has a gradient; takes them away at the end.
class Masks {
 public:
  Masks(std::vector<UnitGroup> groups) : groups_(std::move(groups)) {
    for (auto& group : groups_) {
      const auto options = group.columns.front().options().dtype(torch::kFloat).requires_grad(true);
      *group.mask = torch::ones({group.count}, options);
    }
  }
  ~Masks() {
    for (auto& group : groups_) group.mask->reset();
  }
  Masks(const Masks&) = delete;
  Masks& operator=(const Masks&) = delete;

  const std::vector<UnitGroup>& groups() const { return groups_; }

 private:
  std::vector<UnitGroup> groups_;
};

}  // namespace

Importance score_units(Prunable& model, const LossSource& next_loss) {
  const Masks masks(model.prunable_units());
  Importance importance;
  std::vector<torch::Tensor> variables;
  for (const auto& group : masks.groups()) {
    importance.push_back({group.kind, group.layer, torch::zeros({group.count})});
    variables.push_back(*group.mask);
  }
  int64_t batches = 0;
  while (const auto loss = next_loss()) {
    // grad() returns this batch's gradients alone: nothing accumulates that would have to be cleared.
    const auto gradients = torch::autograd::grad({*loss}, variables);
    for (size_t i = 0; i < gradients.size(); ++i) importance[i].scores += gradients[i].abs().to(torch::kCPU);
    ++batches;
  }
  if (batches == 0) throw DataError("importance: there is no text to score on");
  return importance;
}

Importance score_units(Model& model, Objective& objective, const BatchSource& source, const Context& context) {
  const auto plan = source.plan(0);
  size_t next = 0;
  return score_units(*model, [&]() -> std::optional<torch::Tensor> {
    if (next == plan.size()) return std::nullopt;
    context.check_stop();
    const auto batch = source.collate(plan[next++]).to(context.device);
    context.progress(static_cast<int64_t>(next), static_cast<int64_t>(plan.size()), "scoring");
    return objective.loss(batch);
  });
}

nlohmann::json importance_json(const Importance& importance) {
  auto groups = nlohmann::json::array();
  for (const auto& group : importance) {
    const auto* values = group.scores.data_ptr<float>();
    groups.push_back({{"kind", enum_name(group.kind)},
                      {"layer", group.layer},
                      {"scores", std::vector<float>(values, values + group.scores.numel())}});
  }
  return {{"groups", groups}};
}

Importance read_importance(const nlohmann::json& json, const std::string& file) {
  try {
    Importance importance;
    for (const auto& group : json.at("groups")) {
      const auto kind = group.at("kind").get<std::string>();
      const auto scores = group.at("scores").get<std::vector<float>>();
      importance.push_back({kind == enum_name(UnitKind::heads) ? UnitKind::heads : UnitKind::intermediate,
                            group.at("layer").get<int64_t>(), torch::tensor(scores)});
    }
    return importance;
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(fmt::format("{}: not importance scores: {}", file, error.what()));
  }
}

}  // namespace compression::prune
