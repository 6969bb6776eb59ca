#include "prune/allocate.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/base/error.h"   // ConfigError
#include "compress/base/fields.h"  // enum_name
#include "compress/spec/cost.h"    // encoder_macs, parameter_count

namespace compression::prune {
namespace {

constexpr UnitKind kKinds[] = {UnitKind::heads, UnitKind::intermediate};

/// Units of a group that stay or go together: those of some consecutive ranks.
struct Bundle {
  size_t group = 0;
  int64_t units = 0;
  double score = 0.0, cost = 0.0;
};

/// All bundles of a kind in the order in which they are taken: those that have to stay, then by score for the cost.
class Ranking {
 public:
  Ranking(const Importance& importance, const std::vector<double>& costs, UnitKind kind, const Rules& rules) {
    const auto step = kind == UnitKind::intermediate ? rules.multiple : 1;
    std::vector<Bundle> rest;
    for (size_t g = 0; g < importance.size(); ++g) {
      if (importance[g].kind != kind) continue;
      const auto sorted =
          std::get<0>(importance[g].scores.to(torch::kDouble).sort(/*stable=*/true, /*dim=*/0, /*descending=*/true));
      const auto all = sorted.size(0);
      for (int64_t at = 0; at < all; at += step) {
        const auto units = std::min(step, all - at);
        const Bundle bundle{g, units, sorted.slice(0, at, at + units).sum().item<double>(),
                            static_cast<double>(units) * costs[g]};
        (at == 0 && !rules.whole_blocks ? bundles_ : rest).push_back(bundle);
      }
    }
    least_ = bundles_.size();
    std::ranges::stable_sort(rest, std::greater(), [](const Bundle& b) { return b.score / b.cost; });
    bundles_.insert(bundles_.end(), rest.begin(), rest.end());
    scores_ = {0.0}, costs_ = {0.0};
    for (const auto& bundle : bundles_) {
      scores_.push_back(scores_.back() + bundle.score);
      costs_.push_back(costs_.back() + bundle.cost);
    }
  }

  size_t least() const { return least_; }
  size_t size() const { return bundles_.size(); }
  double score(size_t bundles) const { return scores_[bundles]; }
  double cost(size_t bundles) const { return costs_[bundles]; }

  /// The most bundles that cost at most `budget`; may be fewer than least().
  size_t within(double budget) const {
    const auto tolerance = 1e-9 * costs_.back();
    return static_cast<size_t>(std::ranges::upper_bound(costs_, budget + tolerance) - costs_.begin()) - 1;
  }

  /// Adds the units of the first `bundles` to the counts of their groups.
  void count(size_t bundles, std::vector<int64_t>& counts) const {
    for (size_t i = 0; i < bundles; ++i) counts[bundles_[i].group] += bundles_[i].units;
  }

 private:
  std::vector<Bundle> bundles_;
  size_t least_ = 0;
  std::vector<double> scores_, costs_;  // of so many bundles
};

/// Of all layers together.
int64_t units_of(const ModelConfig& config, UnitKind kind) {
  int64_t all = 0;
  for (const auto& layer : config.layers) all += compression::units_of(layer, kind);
  return all;
}

std::optional<int64_t> count_of(const Counts& counts, UnitKind kind) {
  return kind == UnitKind::heads ? counts.heads : counts.intermediate_size;
}

}  // namespace

std::vector<double> unit_costs(const ModelConfig& config, const std::function<int64_t(const ModelConfig&)>& cost) {
  const auto all = cost(config);
  std::vector<double> costs;
  for (size_t first = 0; first < config.layers.size(); ++first) {
    if (config.first_use(first) < first) continue;
    for (const auto kind : kKinds) {
      auto fewer = config;
      for (size_t i = first; i < fewer.layers.size(); ++i) {
        if (config.first_use(i) != first) continue;
        --compression::units_of(fewer.layers[i], kind);
      }
      costs.push_back(static_cast<double>(all - cost(fewer)));
    }
  }
  return costs;
}

std::optional<double> largest_reduction(const ModelConfig& config, const BudgetConfig& budget, int64_t length) {
  if (!budget.macs_reduction && !budget.parameter_reduction) return std::nullopt;
  const auto costs = budget.macs_reduction
                         ? unit_costs(config, [&](const ModelConfig& c) { return encoder_macs(c, length); })
                         : unit_costs(config, parameter_count);
  double all = 0.0, least = 0.0;
  size_t group = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (config.first_use(i) < i) continue;
    const auto& layer = config.layers[i];
    for (const auto kind : kKinds) {
      const auto units = compression::units_of(layer, kind);
      const auto stay = kind == UnitKind::heads ? int64_t{1} : budget.multiple_of;
      all += costs[group] * static_cast<double>(units);
      if (!budget.whole_blocks) least += costs[group] * static_cast<double>(std::min(stay, units));
      ++group;
    }
  }
  return least > 0.0 ? all / least : std::numeric_limits<double>::infinity();
}

std::vector<torch::Tensor> choose_global(const Importance& importance, const Counts& totals, const Rules& rules) {
  check_finite(importance, "importance");
  std::vector<int64_t> chosen(importance.size());
  for (const auto kind : kKinds) {
    const Ranking ranking(importance, std::vector<double>(importance.size(), 1.0), kind, rules);
    const auto all = ranking.cost(ranking.size()), least = ranking.cost(ranking.least());
    const auto total = static_cast<double>(count_of(totals, kind).value_or(static_cast<int64_t>(all)));
    if (total < least || total > all) {
      throw ConfigError(fmt::format("{}: {} to keep in all layers together, expected from {} to {}", enum_name(kind),
                                    total, least, all));
    }
    ranking.count(ranking.within(total), chosen);
  }
  return keep_best(importance, chosen);
}

std::vector<torch::Tensor> choose_within(const Importance& importance, const std::vector<double>& costs, double budget,
                                         const Rules& rules) {
  check_finite(importance, "importance");
  if (!std::isfinite(budget)) throw ConfigError(fmt::format("a budget of {}, expected a finite number", budget));
  const Ranking heads(importance, costs, UnitKind::heads, rules);
  const Ranking units(importance, costs, UnitKind::intermediate, rules);
  const auto least = heads.cost(heads.least()) + units.cost(units.least());
  const auto all = heads.cost(heads.size()) + units.cost(units.size());
  if (budget < least && all == 0.0) throw ConfigError("the budget is below what is there without any unit");
  if (budget < least) {
    throw ConfigError(fmt::format(
        "the budget leaves {:.1f} % of what all units cost to them, but those that have to stay cost {:.1f} %",
        100 * std::max(0.0, budget) / all, 100 * least / all));
  }
  size_t best_heads = heads.least(), best_units = units.least();
  for (size_t h = heads.least(); h <= heads.size(); ++h) {
    const auto u = units.within(budget - heads.cost(h));
    if (budget < heads.cost(h) || u < units.least()) break;
    if (heads.score(h) + units.score(u) > heads.score(best_heads) + units.score(best_units)) {
      best_heads = h, best_units = u;
    }
  }
  std::vector<int64_t> chosen(importance.size());
  heads.count(best_heads, chosen);
  units.count(best_units, chosen);
  return keep_best(importance, chosen);
}

Importance normalized(const Importance& importance) {
  auto result = importance;
  for (auto& group : result) group.scores = group.scores / group.scores.norm().clamp_min(1e-30);
  return result;
}

Budget::Budget(Model& model, const BudgetConfig& config, int64_t length,
               const std::function<LatencyTable(const ModelConfig&, int64_t)>& timed)
    : config_(config) {
  for (const auto& group : model->prunable_units()) {
    groups_.push_back({group.kind, group.count});
    const auto wanted = count_of(counts(), group.kind).value_or(0);
    if (wanted > group.count && config_.allocation == Allocation::uniform) {
      throw ConfigError(fmt::format("{}: {} to keep in every layer, but layer {} has {}", enum_name(group.kind), wanted,
                                    group.layer, group.count));
    }
  }
  if (config_.macs_reduction) {
    costs_ = unit_costs(model->config(), [&](const ModelConfig& c) { return encoder_macs(c, length); });
    reduction_ = *config_.macs_reduction;
  } else if (config_.parameter_reduction) {
    costs_ = unit_costs(model->config(), parameter_count);
    reduction_ = *config_.parameter_reduction;
  } else if (config_.latency_reduction) {
    latency_ = timed(model->config(), length);
    // A layer that shares its weights with others takes its time as often.
    const auto heads = unit_costs(model->config(), [](const ModelConfig& c) { return units_of(c, UnitKind::heads); });
    const auto units =
        unit_costs(model->config(), [](const ModelConfig& c) { return units_of(c, UnitKind::intermediate); });
    for (size_t g = 0; g < heads.size(); ++g) {
      costs_.push_back(latency_->per_head * heads[g] + latency_->per_unit * units[g]);
    }
    fixed_ = latency_->fixed * static_cast<double>(model->config().layers.size());
    reduction_ = *config_.latency_reduction;
  }
}

Counts Budget::counts() const {
  return {config_.heads, config_.intermediate_size};
}

std::vector<torch::Tensor> Budget::choose(const Importance& importance, double share) const {
  const auto scores = config_.normalize ? normalized(importance) : importance;
  const Rules rules{config_.multiple_of, config_.whole_blocks};
  const auto on_the_way = [&](int64_t from, int64_t to) -> int64_t {
    return from - std::llround(share * static_cast<double>(from - to));
  };
  if (!costs_.empty()) {
    double all = fixed_;
    for (size_t g = 0; g < costs_.size(); ++g) all += costs_[g] * static_cast<double>(groups_[g].count);
    const auto budget = all - share * (all - all / reduction_) - fixed_;
    return choose_within(scores, costs_, budget, rules);
  }
  if (config_.allocation == Allocation::uniform) {
    std::vector<int64_t> kept;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const auto [kind, all] = groups_[g];
      const auto count = on_the_way(all, count_of(counts(), kind).value_or(all));
      const auto step = kind == UnitKind::intermediate && count < all ? config_.multiple_of : 1;
      kept.push_back(std::min((count + step - 1) / step * step, scores[g].scores.size(0)));
    }
    return keep_best(scores, kept);
  }
  Counts totals;
  for (const auto kind : kKinds) {
    int64_t all = 0, wanted = 0;
    for (const auto& group : groups_) {
      if (group.kind != kind) continue;
      all += group.count;
      wanted += count_of(counts(), kind).value_or(group.count);
    }
    (kind == UnitKind::heads ? totals.heads : totals.intermediate_size) = on_the_way(all, wanted);
  }
  return choose_global(scores, totals, rules);
}

}  // namespace compression::prune
