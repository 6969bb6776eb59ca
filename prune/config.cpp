#include "prune/config.h"

namespace compression::prune {

void validate(const PruneConfig& config, Problems& problems) {
  problems.require(config.heads || config.intermediate_size, "",
                   "nothing to prune; expected heads, intermediate_size or both");
  problems.at_least("heads", config.heads, 1);
  problems.at_least("intermediate_size", config.intermediate_size, 1);
  problems.at_least("score_examples", config.score_examples, 0);
  problems.within("batch_size", config.batch_size, 1, 65536);
}

}  // namespace compression::prune
