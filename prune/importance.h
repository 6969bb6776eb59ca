#pragma once
// How much each unit matters: by the gradients of masks or weights, by size, or by chance.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "compress/model/units.h"       // Prunable
#include "compress/train/objective.h"   // Objective
#include "compress/workflow/context.h"  // Context
#include "prune/config.h"               // ImportanceMethod

namespace compression::prune {

/// Scores of one group of units: the more, the worse it is to lose the unit.
struct GroupScores {
  UnitKind kind = UnitKind::heads;
  int64_t layer = 0;
  torch::Tensor scores;  // float32 [count] on the CPU
};
using Importance = std::vector<GroupScores>;  // one a group, in the order of prunable_units()

/// The loss of the next batch, or nothing at the end.
using LossSource = std::function<std::optional<torch::Tensor>()>;

/// Scores by the gradients of each batch's loss; gradients are cleared between batches. With a mask variable m of one a
/// unit, summed over batches:
///
/// - first_order: |dLoss/dm|. Michel et al., arXiv 1905.10650; FastFormers, arXiv 2010.13382, section 3.2.
/// - fisher: (dLoss/dm)^2, the diagonal of the empirical Fisher information. Kwon et al., arXiv
///   2204.09656, section 4.1.
/// - taylor: |sum of w dLoss/dw| over all weights of the unit, those that make it and those that read it. Molchanov et
///   al., arXiv 1906.10771, with the absolute value in place of the square.
///
/// The model should be in evaluation mode; its parameters get no gradient, and its masks are undefined afterwards.
/// Throws DataError if there is no batch, or a score is not finite; std::invalid_argument for a method without
/// gradients.
Importance score_units(Prunable& model, const LossSource& next_loss,
                       ImportanceMethod method = ImportanceMethod::first_order);

/// Throws DataError, which names `what` scored, kind, layer and unit, if a score is not finite.
void check_finite(const Importance& importance, std::string_view what);

/// What a mask's gradient adds to the score: |gradient| of first_order, its square of fisher.
torch::Tensor strength(const torch::Tensor& gradient, ImportanceMethod method);

/// Uniform in [0, 1), the same on every platform: float32 [count].
torch::Tensor random_uniform(int64_t count, uint64_t seed);

/// The length of the vector of a unit's weights, those that make it and those that read it.
Importance magnitude_scores(Prunable& model);

/// Uniform in [0, 1): what every other method has to beat.
Importance random_scores(Prunable& model, uint64_t seed);

/// dLoss/dtensor of each; zeros for one that has no elements, as in a block that went whole. The loss's graph may not
/// hold those. Throws c10::Error if it does not hold another.
std::vector<torch::Tensor> gradients_of(const torch::Tensor& loss, const std::vector<torch::Tensor>& tensors);

/// The losses of a source's batches, of which those without anything that the objective counts are left out. `begin` is
/// told of a batch before its loss is computed. Throws Interrupted.
LossSource losses(
    Objective& objective, const BatchSource& source, const Context& context,
    std::function<void(const Batch& batch)> begin = [](const Batch&) {});

struct ScoreOptions {
  ImportanceMethod method = ImportanceMethod::first_order;
  bool per_text = false;  // first_order and fisher: gradients of each text's own mean loss, in place of each batch's
};

/// Any method over a whole source, of which magnitude and random need nothing, and surgeon (surgeon.h) not the
/// objective. Chance is seeded by context.seed. With per_text, scores do not depend on which texts share a batch; texts
/// without anything that the objective counts add nothing. Throws DataError if there is no other; Interrupted.
Importance score_units(Model& model, Objective& objective, const BatchSource& source, const Context& context,
                       const ScoreOptions& options = {});

/// {"groups": [{"kind": "heads", "layer": 0, "scores": [...]}, ...]}
nlohmann::json importance_json(const Importance& importance);

/// The inverse. Throws CheckpointError naming `file`.
Importance read_importance(const nlohmann::json& json, const std::string& file);

}  // namespace compression::prune
