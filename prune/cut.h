#pragma once
// Which units stay, and the smaller layers that they make.

#include <optional>
#include <vector>

#include "compress/model/units.h"  // Prunable
#include "prune/importance.h"      // Importance

namespace compression::prune {

/// Units to keep in every layer; absent: all.
struct Counts {
  std::optional<int64_t> heads, intermediate_size;
};

/// The features of these units, each of which has `width` that follow each other: int64 [units * width].
torch::Tensor features_of(const torch::Tensor& units, int64_t width);

/// The `count` best by score, of equal scores the first: int64 [count], ascending. scores: [units], `count` at most.
torch::Tensor best_units(const torch::Tensor& scores, int64_t count);

/// The units of each group that stay, `counts` of them, one number a group: int64 [kept], ascending. The best by score;
/// of equal scores the first. Throws ConfigError if a group has fewer units than asked for.
std::vector<torch::Tensor> keep_best(const Importance& importance, const std::vector<int64_t>& counts);

/// The best units with equal counts in every layer. Throws as keep_best().
std::vector<torch::Tensor> choose_units(const Importance& importance, const Counts& counts);

/// Masks the units that do not stay, without cutting: 1 for a unit that stays, 0 for one that does not.
void mask_units(Prunable& model, const std::vector<torch::Tensor>& kept);

/// Takes all masks away.
void clear_masks(Prunable& model);

/// Cuts each group to the units that stay, in the order of `kept`: the rows of the layers that make them and the
/// columns of those that read them, in place. The result computes what the masked model did. Gradients of the tensors
/// are dropped.
void cut_units(Prunable& model, const std::vector<torch::Tensor>& kept);

}  // namespace compression::prune
