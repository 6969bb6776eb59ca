#include "prune/importance.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "compress/base/error.h"             // CheckpointError, DataError
#include "compress/base/fields.h"            // enum_name
#include "compress/model/autocast.h"         // OrdinaryMode
#include "compress/state_dict/state_dict.h"  // not_finite
#include "prune/surgeon.h"                   // surgeon_scores

namespace compression::prune {
namespace {

/// Gives every group a mask of ones that has a gradient; takes them away at the end.
class Masks {
 public:
  explicit Masks(std::vector<UnitGroup>& groups) : groups_(groups) { set({}); }
  ~Masks() {
    for (auto& group : groups_) group.mask->reset();
  }
  Masks(const Masks&) = delete;
  Masks& operator=(const Masks&) = delete;

  /// A mask for each of so many texts; absent: one for all.
  void set(std::optional<int64_t> texts) {
    variables_.clear();
    for (auto& group : groups_) {
      const auto options = group.columns.front().options().dtype(torch::kFloat).requires_grad(true);
      *group.mask = texts ? torch::ones({*texts, group.count}, options) : torch::ones({group.count}, options);
      variables_.push_back(*group.mask);
    }
  }

  /// dLoss/dmask of each group. grad() gives this loss's gradients alone: nothing accumulates.
  std::vector<torch::Tensor> gradients(const torch::Tensor& loss) const { return gradients_of(loss, variables_); }

 private:
  std::vector<UnitGroup>& groups_;
  std::vector<torch::Tensor> variables_;
};

Importance zeros(const std::vector<UnitGroup>& groups) {
  Importance importance;
  for (const auto& group : groups)
    importance.push_back({group.kind, group.layer, torch::zeros({group.count}, torch::kFloat)});
  return importance;
}

torch::Tensor random_uniform(int64_t count, std::mt19937_64& generator) {
  auto values = torch::empty({count}, torch::kFloat);
  auto* to = values.data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(generator() >> 40) * 0x1p-24f;
  return values;
}

/// Sums of a group's entries by unit, of tensors like the weights that make it and those that read it: [count].
torch::Tensor sum_by_unit(const UnitGroup& group, const std::vector<torch::Tensor>& rows,
                          const std::vector<torch::Tensor>& columns) {
  auto sums = torch::zeros({group.count}, columns.front().options());
  if (group.count == 0) return sums;  // the block went whole
  for (const auto& t : rows) sums += t.reshape({group.count, -1}).sum(1);
  for (const auto& t : columns) sums += t.sum(0).reshape({group.count, -1}).sum(1);
  return sums;
}

/// What a gradient adds to a score.
Importance taylor_scores(std::vector<UnitGroup>& groups, const LossSource& next_loss, int64_t& batches) {
  auto importance = zeros(groups);
  std::vector<torch::Tensor> weights;
  for (const auto& group : groups) {
    weights.insert(weights.end(), group.rows.begin(), group.rows.end());
    weights.insert(weights.end(), group.columns.begin(), group.columns.end());
  }
  for (; const auto loss = next_loss(); ++batches) {
    const auto gradients = gradients_of(*loss, weights);
    const at::NoGradGuard no_grad;
    auto next = gradients.begin();
    for (size_t i = 0; i < groups.size(); ++i) {
      const auto times_gradient = [&](const std::vector<torch::Tensor>& tensors) {
        std::vector<torch::Tensor> products;
        for (const auto& t : tensors) products.push_back(t * *next++);
        return products;
      };
      const auto rows = times_gradient(groups[i].rows), columns = times_gradient(groups[i].columns);
      importance[i].scores += sum_by_unit(groups[i], rows, columns).abs().to(torch::kCPU);
    }
  }
  return importance;
}

}  // namespace

std::vector<torch::Tensor> gradients_of(const torch::Tensor& loss, const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> filled;
  for (const auto& tensor : tensors) {
    if (tensor.numel() > 0) filled.push_back(tensor);
  }
  const auto found = filled.empty() ? filled : torch::autograd::grad({loss}, filled);
  std::vector<torch::Tensor> all;
  auto next = found.begin();
  for (const auto& tensor : tensors) all.push_back(tensor.numel() > 0 ? *next++ : torch::zeros_like(tensor));
  return all;
}

LossSource losses(Objective& objective, const BatchSource& source, const Context& context,
                  std::function<void(const Batch& batch)> begin) {
  return [&, begin = std::move(begin), plan = source.plan(0), next = size_t{0}]() mutable {
    while (next < plan.size()) {
      context.check_stop();
      const auto batch = source.collate(plan[next++]).to(context.device);
      context.progress(static_cast<int64_t>(next), static_cast<int64_t>(plan.size()), "scoring");
      if (is_nothing(objective.counts(batch))) continue;
      begin(batch);
      return std::optional(objective.loss(batch));
    }
    return std::optional<torch::Tensor>();
  };
}

void check_finite(const Importance& importance, std::string_view what) {
  for (const auto& group : importance) {
    if (const auto odd = not_finite(group.scores); !odd.empty()) {
      throw DataError(fmt::format("{}: the scores of {} of layer {}: found {}, expected finite numbers", what,
                                  enum_name(group.kind), group.layer, odd));
    }
  }
}

torch::Tensor strength(const torch::Tensor& gradient, ImportanceMethod method) {
  return method == ImportanceMethod::fisher ? gradient.square() : gradient.abs();
}

torch::Tensor random_uniform(int64_t count, uint64_t seed) {
  std::mt19937_64 generator(seed);
  return random_uniform(count, generator);
}

Importance score_units(Prunable& model, const LossSource& next_loss, ImportanceMethod method) {
  auto groups = model.prunable_units();
  Importance importance = zeros(groups);
  int64_t batches = 0;
  if (by_masks(method)) {
    const Masks masks(groups);
    for (; const auto loss = next_loss(); ++batches) {
      const auto gradients = masks.gradients(*loss);
      for (size_t i = 0; i < gradients.size(); ++i) {
        importance[i].scores += strength(gradients[i], method).to(torch::kCPU);
      }
    }
  } else if (method == ImportanceMethod::taylor) {
    importance = taylor_scores(groups, next_loss, batches);
  } else {
    throw std::invalid_argument(fmt::format("{} is not a score of losses", enum_name(method)));
  }
  if (batches == 0) throw DataError("importance: there is no text to score on");
  check_finite(importance, enum_name(method));
  return importance;
}

Importance magnitude_scores(Prunable& model) {
  const at::NoGradGuard no_grad;
  auto groups = model.prunable_units();
  auto importance = zeros(groups);
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto squares = [](const std::vector<torch::Tensor>& tensors) {
      std::vector<torch::Tensor> all;
      for (const auto& t : tensors) all.push_back(t.square());
      return all;
    };
    importance[i].scores =
        sum_by_unit(groups[i], squares(groups[i].rows), squares(groups[i].columns)).sqrt().to(torch::kCPU);
  }
  check_finite(importance, enum_name(ImportanceMethod::magnitude));
  return importance;
}

Importance random_scores(Prunable& model, uint64_t seed) {
  std::mt19937_64 generator(seed);
  auto importance = zeros(model.prunable_units());
  for (auto& group : importance) group.scores = random_uniform(group.scores.numel(), generator);
  return importance;
}

Importance score_units(Model& model, Objective& objective, const BatchSource& source, const Context& context,
                       const ScoreOptions& options) {
  const OrdinaryMode ordinary(context.device);
  if (options.method == ImportanceMethod::magnitude) return magnitude_scores(*model);
  if (options.method == ImportanceMethod::random) return random_scores(*model, context.seed);
  if (options.method == ImportanceMethod::surgeon) return surgeon_scores(model, source, context.seed, context);
  if (!options.per_text) {
    return score_units(*model, losses(objective, source, context), options.method);
  }
  if (!by_masks(options.method)) {
    throw std::invalid_argument(fmt::format("{} has no gradients of single texts", enum_name(options.method)));
  }
  auto groups = model->prunable_units();
  auto importance = zeros(groups);
  Masks masks(groups);
  torch::Tensor to_own;  // from the gradient of the batch's mean to that of each text's: [batch, 1]
  int64_t batches = 0;
  const auto next_loss = losses(objective, source, context, [&](const Batch& batch) {
    const auto by_text = objective.counts_by_text(batch);
    to_own = to_own_means(objective.counts(batch).front(), by_text).to(context.device, torch::kFloat).unsqueeze(1);
    masks.set(batch.size());
  });
  for (; const auto loss = next_loss(); ++batches) {
    const auto gradients = masks.gradients(*loss);
    for (size_t i = 0; i < gradients.size(); ++i) {
      importance[i].scores += strength(gradients[i] * to_own, options.method).sum(0).to(torch::kCPU);
    }
  }
  if (batches == 0) throw DataError("importance: there is no text to score on");
  check_finite(importance, enum_name(options.method));
  return importance;
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
                            group.at("layer").get<int64_t>(), torch::tensor(scores, torch::kFloat)});
    }
    return importance;
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(fmt::format("{}: not importance scores: {}", file, error.what()));
  }
}

}  // namespace compression::prune
