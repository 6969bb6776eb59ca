#include "prune/rounds.h"

#include <torch/types.h>

#include "prune/schedule.h"  // cubic_share

namespace compression::prune {

RoundsResult prune_in_rounds(Model& model, const Budget& budget, int64_t rounds,
                             const std::function<Importance()>& score,
                             const std::function<void(const std::vector<torch::Tensor>& kept)>& recover) {
  RoundsResult result;
  for (int64_t round = 1; round <= rounds; ++round) {
    const auto importance = score();
    const auto kept = budget.choose(importance, cubic_share(static_cast<double>(round) / static_cast<double>(rounds)));
    cut_units(*model, kept);
    if (round == 1) {
      result = {importance, kept};
    } else {
      for (size_t i = 0; i < kept.size(); ++i) result.kept[i] = result.kept[i].index_select(0, kept[i]);
    }
    recover(result.kept);
  }
  return result;
}

}  // namespace compression::prune
