#pragma once
// What a network costs, counted from its weights.

#include <cstdint>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

/// Parameters of the whole model: embeddings, blocks, head. What layers share counts once.
int64_t parameter_count(const ModelConfig& config);

/// Multiply-adds of the blocks for one text of `length` tokens: projections, attention (query by key, probabilities by
/// value; keys and queries of relative positions, and by these) and FFN. Embeddings and head are not in it. Where there
/// is a decoder behind an encoder, each reads so many tokens.
int64_t encoder_macs(const ModelConfig& config, int64_t length);

}  // namespace compression
