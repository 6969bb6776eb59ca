#pragma once
// Scores that know what the units which stay can make good.

#include "prune/importance.h"  // Importance

namespace compression::prune {

/// What the loss of each unit adds to the error of the model's logits, when the units of its group go one after the
/// other, cheapest first, and after each the weights that read those which are left are fitted anew: Optimal Brain
/// Surgeon for structures (ZipLM, Kurtic et al., arXiv 2302.04089, section 3.1; at most 1/32 of the units at a step).
/// So the sum of the scores of the units that go is what is lost after reconstruction by least squares. An error of a
/// block counts as its square along the directions that change the logits: the blocks' second moments of gradients of
/// random projections of the logits, independent of their inputs as in K-FAC (Martens and Grosse, arXiv 1503.05671).
/// Needs no labels. `seed`: of the projections. Memory and throws: as reconstruct().
Importance surgeon_scores(Model& model, const BatchSource& texts, uint64_t seed, const Context& context);

/// The part of it that is about one group: gram: float64 [inputs, inputs], sums of products of the units' values, the
/// last `fixed` of which stay; weight: float64 [outputs, inputs - fixed], what reads them; width: inputs a unit. Scores
/// float64 [units], ascending in the order in which they go.
torch::Tensor removal_costs(const torch::Tensor& gram, const torch::Tensor& weight, int64_t width, int64_t fixed,
                            double damping);

}  // namespace compression::prune
