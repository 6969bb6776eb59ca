#pragma once
// How much each unit matters, by the gradient of its mask.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "compress/model/units.h"       // Prunable
#include "compress/train/objective.h"   // Objective
#include "compress/workflow/context.h"  // Context

namespace compression::prune {

/// Scores of one group of units.
struct GroupScores {
  UnitKind kind = UnitKind::heads;
  int64_t layer = 0;
  torch::Tensor scores;  // float32 [count] on the CPU
};
using Importance = std::vector<GroupScores>;  // one a group, in the order of prunable_units()

/// The loss of the next batch, or nothing at the end.
using LossSource = std::function<std::optional<torch::Tensor>()>;

/// First-order importance: a mask variable of ones per unit, and |dLoss/dmask| of each batch summed over all of them.
/// Gradients are cleared between batches. Michel et al., arXiv 1905.10650; FastFormers, arXiv 2010.13382, section 3.2.
/// The model should be in evaluation mode; its parameters get no gradient, and its masks are undefined afterwards.
/// Throws DataError if there is no batch.
Importance score_units(Prunable& model, const LossSource& next_loss);

/// The same over a whole source. Throws Interrupted.
Importance score_units(Model& model, Objective& objective, const BatchSource& source, const Context& context);

/// {"groups": [{"kind": "heads", "layer": 0, "scores": [...]}, ...]}
nlohmann::json importance_json(const Importance& importance);

/// The inverse. Throws CheckpointError naming `file`.
Importance read_importance(const nlohmann::json& json, const std::string& file);

}  // namespace compression::prune
