#pragma once
// Models of other sizes that start with a part of a model's weights. What a dimension counts is told by the labels of
// compress/spec/weights.h.

#include <functional>

#include "compress/model/model.h"   // Model
#include "compress/spec/weights.h"  // Label

namespace compression {

/// Of `all` features of an axis the `count` that stay, where each unit has `width` of them: int64 [count], ascending.
using ChooseFeatures = std::function<torch::Tensor(Label label, int64_t all, int64_t count, int64_t width)>;

/// The sizes of `config`, and of each axis of `from`'s weights that is longer the features that `choose` names. Units
/// stay whole. `config` is that of `from` but for its sizes; its layer i starts with the weights of layer layers[i] of
/// `from`, or with those of layer i. Throws UnsupportedError if the weights of `from` are not float32.
Model resized(const Model& from, const ModelConfig& config, const ChooseFeatures& choose,
              const std::vector<int64_t>& layers = {});

}  // namespace compression
