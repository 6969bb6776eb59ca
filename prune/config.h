#pragma once
// Settings of the pruning stage.

#include <array>
#include <memory>
#include <optional>

#include "compress/workflow/stage.h"  // Stage

namespace compression::prune {

enum class ImportanceMethod { first_order };
constexpr std::array<std::pair<ImportanceMethod, std::string_view>, 1> enum_names(ImportanceMethod) {
  return {{{ImportanceMethod::first_order, "first_order"}}};
}

struct PruneConfig {
  static constexpr std::string_view kind = "prune";

  Reference of;
  ImportanceMethod importance = ImportanceMethod::first_order;
  std::optional<int64_t> heads;
  std::optional<int64_t> intermediate_size;
  int64_t score_examples = 0;
  int64_t batch_size = 32;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to prune", Presence::required);
    visit("importance", self.importance, "first_order: |dLoss/dmask| of each unit, summed over batches");
    visit("heads", self.heads, "Attention heads to keep in every layer; all if absent");
    visit("intermediate_size", self.intermediate_size, "FFN units to keep in every layer; all if absent");
    visit("score_examples", self.score_examples, "Training texts to score on, chosen by the seed; 0: all");
    visit("batch_size", self.batch_size, "Texts a batch while scoring");
  }
};
void validate(const PruneConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const PruneConfig& config);

}  // namespace compression::prune
