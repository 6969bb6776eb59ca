#pragma once
// Models of other sizes that start with a part of a model's weights.

#include <functional>

#include "compress/model/model.h"  // Model

namespace compression {

/// Of `all` features of a dimension the `count` that stay, where each unit has `width` of them: int64 [count],
/// ascending.
using ChooseFeatures = std::function<torch::Tensor(int64_t all, int64_t count, int64_t width)>;

/// The sizes of `config`, and of each dimension of `from`'s weights that is longer the features that `choose` names.
/// Heads stay whole. `config` is that of `from` but for hidden_size and the sizes of layers.
Model resized(const Model& from, const ModelConfig& config, const ChooseFeatures& choose);

/// `config` with another hidden size; embedding tables of the same width follow.
ModelConfig with_hidden_size(ModelConfig config, int64_t hidden_size);

}  // namespace compression
