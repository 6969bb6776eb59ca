#pragma once
// How dense each matrix stays: by how much the loss rises when it alone becomes sparser, against what that saves.

#include <array>
#include <functional>
#include <vector>

#include "compress/model/layers.h"       // Linear
#include "compress/spec/sparsity.h"      // PatternShape
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/train/objective.h"    // Objective
#include "compress/workflow/context.h"   // Context

namespace compression::prune {

/// The densities that are tried, in falling order.
inline constexpr std::array<double, 10> tried_densities = {1.0,    0.75,  0.5,    0.375,   0.25,
                                                           0.1875, 0.125, 0.0625, 0.03125, 0.015625};

/// What one matrix costs at each of the tried densities, and by how much the loss rises.
struct DensityCurve {
  std::array<double, tried_densities.size()> costs{}, rises{};
};

/// Costs are the weights that stay.
std::array<double, tried_densities.size()> weight_costs(int64_t out, int64_t in);

/// Costs are what an int8 product of 48 rows takes on this machine (kernels::sparse_choice), in weights that the dense
/// form multiplies in that time.
std::array<double, tried_densities.size()> product_costs(int64_t out, int64_t in, const PatternShape& shape);

/// Whether a density between two that were tried may be chosen, whose cost and rise are taken to lie between theirs.
enum class Steps { whole, parts };

/// A density for each matrix, so that the sum of costs is at most `budget` and the sum of rises least, where rises are
/// taken as convex in costs: steps from the densest on, that with the least rise for what it saves first. Layers'
/// rises are added up as in SPDY (Frantar and Alistarh, arXiv 2201.13096, section 3). Throws ConfigError if the
/// sparsest cost more.
std::vector<double> choose_densities(const std::vector<DensityCurve>& curves, double budget, Steps steps);

/// By how much the mean loss of some of the texts (about 256, or 8,192 tokens, of all lengths) rises when one layer
/// alone gets the weight that pruned(layer, density) gives: what is measured, but not below 0 nor below what a larger
/// density has. Layers have their own weights afterwards. The sensitivity of Han et al., arXiv 1506.02626, with the
/// loss in place of the accuracy. Throws DataError if there is no text; Interrupted.
std::vector<std::array<double, tried_densities.size()>> loss_rises(
    const std::vector<Linear>& layers, Objective& objective, const BatchSource& texts, const Context& context,
    const std::function<torch::Tensor(size_t layer, double density)>& pruned);

}  // namespace compression::prune
