#pragma once
// How many units each layer keeps, and so which.

#include <functional>
#include <optional>
#include <vector>

#include "compress/model/model.h"  // Model
#include "prune/config.h"          // BudgetConfig
#include "prune/cut.h"             // Counts
#include "prune/latency.h"         // LatencyTable

namespace compression::prune {

/// By how much `cost` of the model's config (encoder_macs, parameter_count) falls with each unit of a group: one a
/// group, in the order of prunable_units(). Units of layers that share their weights count once for each.
std::vector<double> unit_costs(const ModelConfig& config, const std::function<int64_t(const ModelConfig&)>& cost);

/// How many times fewer multiply-adds or parameters a budget of a reduction can leave at most, since some units have to
/// stay; nothing of other budgets.
std::optional<double> largest_reduction(const ModelConfig& config, const BudgetConfig& budget, int64_t length);

/// How units may be chosen over layers.
struct Rules {
  int64_t multiple = 1;       // FFN units stay in multiples of this, the best of a layer first
  bool whole_blocks = false;  // a group may lose all its units; else one (or `multiple` FFN units) stays in each
};

/// The best units of all layers together: `totals` of each kind, all if absent; up to rules.multiple - 1 FFN units
/// fewer may stay. Throws ConfigError if there are not so many, or more have to stay.
std::vector<torch::Tensor> choose_global(const Importance& importance, const Counts& totals, const Rules& rules = {});

/// The units with the largest sum of scores whose costs, one a group and unit, sum to at most `budget`. Units of a kind
/// are sorted by score for the cost, over all groups; then each count of heads is tried with as many FFN units as fit.
/// That is exact where the units of a kind cost the same.
/// Kwon et al., arXiv 2204.09656, algorithm 1. Throws ConfigError if the least is too much.
std::vector<torch::Tensor> choose_within(const Importance& importance, const std::vector<double>& costs, double budget,
                                         const Rules& rules = {});

/// The same scores, each group's divided by their length (l2). Michel et al., arXiv 1905.10650, section 4.1.
Importance normalized(const Importance& importance);

/// The way from all units of a model to its budget.
class Budget {
 public:
  /// `length`: tokens of the text that multiply-adds are counted for and layers are timed with, which `timed` does here
  /// for latency_reduction. Throws ConfigError if the model has fewer heads or FFN units than are to be kept.
  Budget(Model& model, const BudgetConfig& config, int64_t length,
         const std::function<LatencyTable(const ModelConfig&, int64_t)>& timed = measure_layers);

  /// The units of the model, as it is by now, to keep at `share` of the way: 0 is where it began, 1 the budget.
  std::vector<torch::Tensor> choose(const Importance& importance, double share = 1.0) const;

  /// What latency_reduction is about.
  const std::optional<LatencyTable>& latency() const { return latency_; }

 private:
  struct Group {
    UnitKind kind;
    int64_t count;  // at the beginning
  };
  Counts counts() const;

  BudgetConfig config_;
  std::vector<Group> groups_;
  std::vector<double> costs_;  // of a unit of each group; empty with counts
  double reduction_ = 1.0;     // of all costs together
  double fixed_ = 0.0;         // what costs besides the units
  std::optional<LatencyTable> latency_;
};

}  // namespace compression::prune
