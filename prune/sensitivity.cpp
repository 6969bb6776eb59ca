#include "prune/sensitivity.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "compress/base/error.h"             // ConfigError, DataError
#include "compress/kernels/sparse.h"         // sparse_word
#include "compress/kernels/sparse_choice.h"  // sparse_choice

namespace compression::prune {
namespace {

constexpr int64_t measured_texts = 256, measured_tokens = 8192;  // each loss is measured on so many
constexpr double hopeless = 1e30;                                // the rise to a loss that is no number

/// From one tried density of a layer to a smaller one.
struct Step {
  size_t layer, to;
  double saved, rise;
};

/// The steps along the lower convex hull of a layer's points (cost, rise), from where the loss has not risen on.
std::vector<Step> hull(size_t layer, const DensityCurve& curve) {
  std::vector<Step> steps;
  for (size_t at = 0; at + 1 < tried_densities.size();) {
    std::optional<Step> best;
    for (size_t to = at + 1; to < tried_densities.size(); ++to) {
      const Step step{layer, to, curve.costs[at] - curve.costs[to], curve.rises[to] - curve.rises[at]};
      if (step.saved > 0.0 && (!best || step.rise * best->saved <= best->rise * step.saved)) best = step;
    }
    if (!best) break;
    steps.push_back(*best);
    at = best->to;
  }
  return steps;
}

/// Those at equal distances in the plan, which goes by length; none that the objective counts nothing of.
std::vector<Batch> some_batches(Objective& objective, const BatchSource& texts, const Context& context) {
  const auto plan = texts.plan(0);
  const auto every = std::max<size_t>(1, static_cast<size_t>(texts.size() / measured_texts));
  std::vector<Batch> some;
  int64_t tokens = 0;
  for (size_t i = std::min(every / 2, plan.size() - 1); i < plan.size(); i += every) {
    auto batch = texts.collate(plan[i]).to(context.device);
    if (is_nothing(objective.counts(batch))) continue;
    tokens += batch.input_ids().numel();
    some.push_back(std::move(batch));
  }
  if (some.empty()) throw DataError("allocation: sensitivity has no text to measure the loss on");
  const auto too_many = static_cast<size_t>(tokens / measured_tokens) + 1;
  std::vector<Batch> few;
  for (size_t i = too_many / 2; i < some.size(); i += too_many) few.push_back(some[i]);
  return few.empty() ? std::vector<Batch>{some[some.size() / 2]} : few;
}

}  // namespace

std::array<double, tried_densities.size()> weight_costs(int64_t out, int64_t in) {
  auto costs = tried_densities;
  for (auto& cost : costs) cost *= static_cast<double>(out * in);
  return costs;
}

std::array<double, tried_densities.size()> product_costs(int64_t out, int64_t in, const PatternShape& shape) {
  const auto blocks_a_word = std::max<int64_t>(1, kernels::sparse_word() / shape.columns);
  auto costs = weight_costs(out, in);
  for (size_t i = 0; i < costs.size(); ++i) {
    const auto words = 1.0 - std::pow(1.0 - tried_densities[i], static_cast<double>(blocks_a_word));
    costs[i] = static_cast<double>(out * in) / kernels::sparse_choice(out, in, words).speedup;
  }
  return costs;
}

std::vector<double> choose_densities(const std::vector<DensityCurve>& curves, double budget, Steps steps) {
  std::vector<Step> all;
  double whole = 0.0, least = 0.0;
  for (size_t i = 0; i < curves.size(); ++i) {
    const auto& costs = curves[i].costs;
    whole += costs.front();
    least += *std::min_element(costs.begin(), costs.end());
    for (const auto& step : hull(i, curves[i])) all.push_back(step);
  }
  if (least > budget) {
    throw ConfigError(
        fmt::format("density or latency_reduction: found a budget of {:.3g} of what dense matrices cost; expected "
                    "{:.3g} at least, which the "
                    "sparsest that are tried cost on this machine",
                    budget / whole, least / whole));
  }
  // A layer's own steps are in this order already, since its hull is convex.
  std::stable_sort(all.begin(), all.end(),
                   [](const Step& a, const Step& b) { return a.rise * b.saved < b.rise * a.saved; });
  std::vector<double> densities(curves.size(), tried_densities.front());
  auto cost = whole;
  for (const auto& step : all) {
    if (cost <= budget) break;
    auto& density = densities[step.layer];
    const auto part = steps == Steps::whole ? 1.0 : std::min(1.0, (cost - budget) / step.saved);
    density = std::lerp(density, tried_densities[step.to], part);
    cost -= part * step.saved;
  }
  return densities;
}

std::vector<std::array<double, tried_densities.size()>> loss_rises(
    const std::vector<Linear>& layers, Objective& objective, const BatchSource& texts, const Context& context,
    const std::function<torch::Tensor(size_t layer, double density)>& pruned) {
  const at::NoGradGuard no_grad;
  const auto batches = some_batches(objective, texts, context);
  const auto mean_loss = [&] {
    double sum = 0.0;
    for (const auto& batch : batches) {
      context.check_stop();
      sum += objective.loss(batch).item<double>();
    }
    return sum / static_cast<double>(batches.size());
  };
  const auto before = mean_loss();
  std::vector<std::array<double, tried_densities.size()>> rises(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    auto weight = layers[i]->weight;
    const auto own = weight.clone();
    for (size_t step = 1; step < tried_densities.size(); ++step) {
      weight.copy_(pruned(i, tried_densities[step]));
      const auto rise = torch::equal(weight, own) ? 0.0 : mean_loss() - before;
      weight.copy_(own);
      rises[i][step] = std::max(rises[i][step - 1], std::isfinite(rise) ? rise : hopeless);
    }
    context.progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(layers.size()), "measuring layers");
  }
  return rises;
}

}  // namespace compression::prune
