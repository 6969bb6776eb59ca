#pragma once
// Models of other sizes that start with a part of a model's weights.

#include <functional>
#include <string>

#include "compress/model/model.h"  // Model

namespace compression {

/// Of `all` features of a dimension the `count` that stay, where each unit has `width` of them: int64 [count],
/// ascending.
using ChooseFeatures = std::function<torch::Tensor(int64_t all, int64_t count, int64_t width)>;

/// The sizes of `config`, and of each dimension of `from`'s weights that is longer the features that `choose` names.
/// Heads stay whole. `config` is that of `from` but for hidden_size and the sizes of layers.
Model resized(const Model& from, const ModelConfig& config, const ChooseFeatures& choose);

/// How many times the hidden dimensions follow each other in dimension `d` of a tensor of the model's, where they do:
/// several in the first linear layer behind poolings that follow each other, else 1.
int64_t hidden_repeats(const std::string& name, int64_t d, const ModelConfig& config);

/// `config` with another hidden size; embedding tables of the same width follow, and the linear layer that reads the
/// pooled vector.
ModelConfig with_hidden_size(ModelConfig config, int64_t hidden_size);

}  // namespace compression
