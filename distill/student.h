#pragma once
// Students that start as a part of a larger model.

#include <optional>
#include <vector>

#include "compress/model/model.h"  // Model

namespace compression::distill {

/// A student that is `from` with only these layers, in this order. Layers that share weights still do. Throws
/// ConfigError if one is not there, UnsupportedError if what is left shares weights in a way that config.json can't
/// say.
Model keep_layers(const Model& from, const std::vector<int64_t>& layers);

/// Sizes of a student; absent: as `from` has them.
struct StudentShape {
  std::optional<int64_t> hidden_size, num_attention_heads, intermediate_size;
};

/// A student of smaller layers, whose weights are rows and columns of `from`, evenly spaced: weight selection (Xu et
/// al., arXiv 2311.18823). Heads stay whole and keep their size. Throws ConfigError for a size above that of `from`,
/// UnsupportedError where heads are chosen from a model whose attention has a bias for each (MPNet).
Model select_weights(const Model& from, const StudentShape& shape);

}  // namespace compression::distill
