#pragma once
// Activation recomputation (Chen et al., arXiv 1604.06174): memory for time.

#include <torch/types.h>

#include <functional>

namespace compression {

/// function(x), of which only x is kept for the backward pass: that calls the function again, with the generator's
/// state and the autocast of the first time, and so with the same dropout. Parameters that it uses get their gradients
/// then.
torch::Tensor recomputed(std::function<torch::Tensor(const torch::Tensor&)> function, const torch::Tensor& x);

}  // namespace compression
