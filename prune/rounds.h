#pragma once
// Pruning in rounds: score, cut a part, make good what can be, and score what is left again.

#include <functional>

#include "prune/allocate.h"    // Budget
#include "prune/importance.h"  // Importance

namespace compression::prune {

struct RoundsResult {
  Importance importance;            // of all units, by the first round
  std::vector<torch::Tensor> kept;  // of each group, in the numbering of the model as it was
};

/// Cuts the model to the budget in so many rounds, of which each cuts by scores of its own, a share as cubic_share()
/// says. `score`: scores of the model as it is; `recover`: called after each cut with the units that are left, in the
/// numbering of the model as it was. One round is one-shot pruning.
RoundsResult prune_in_rounds(Model& model, const Budget& budget, int64_t rounds,
                             const std::function<Importance()>& score,
                             const std::function<void(const std::vector<torch::Tensor>& kept)>& recover);

}  // namespace compression::prune
