#pragma once

#include "compress/spec/head.h"  // AnyHead

namespace compression {

/// One label a text, a number or several labels, from its first token or the mean of all: dropout, a dense layer, an
/// activation, a norm, dropout, the classifier, as HeadOptions says. Logits: [batch, labels].
struct TextHead : AnyHead {
  static constexpr RuntimePart in_runtime = RuntimePart::all;
  static bool reads_first(const ModelConfig& config) { return !config.head.mean; }

  static void list(WeightList& weights) {
    list_classifier(weights, static_cast<int64_t>(weights.config.labels.size()));
    list_dense(weights);
  }

  template <class Ops>
  static auto logits(Ops& ops) {
    return ops.linear("classifier", ops.dropout(dense(ops, ops.first_dropout(text(ops)))));
  }

 private:
  template <class Ops>
  static auto text(Ops& ops) {
    if (!ops.config().head.mean) return ops.first();
    const auto states = ops.states(), real = ops.mask(states);
    return (states * real.unsqueeze(-1)).sum(1) / real.sum(1, /*keepdim=*/true);
  }
};

}  // namespace compression
