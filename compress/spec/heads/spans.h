#pragma once

#include "compress/spec/heads/tokens.h"  // TokensHead

namespace compression {

/// Question answering: start and end, of each token, without dropout. Logits: [batch, sequence, 2].
struct SpansHead : TokensHead {
  static constexpr bool has_dropout = false;
  static void list(WeightList& weights) { TokensHead::list(weights, 2); }
};

}  // namespace compression
