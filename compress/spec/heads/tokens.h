#pragma once

#include "compress/spec/head.h"  // AnyHead

namespace compression {

/// A label a token: a dense layer, an activation and a norm where HeadOptions ask for them, dropout, the classifier.
/// Logits: [batch, sequence, labels].
struct TokensHead : AnyHead {
  static constexpr RuntimePart in_runtime = RuntimePart::dense;  // where there is one

  static void list(WeightList& weights) { list(weights, static_cast<int64_t>(weights.config.labels.size())); }

  template <class Ops>
  static auto logits(Ops& ops) {
    const auto states = ops.states();
    return ops.linear("classifier", ops.dropout(ops.config().head.norm ? dense(ops, states) : states));
  }

  template <class Ops, class Value>
  static auto behind_dense(Ops& ops, const Value& x) {
    return ops.linear("classifier", ops.config().head.norm ? ops.norm("LayerNorm", x) : x);
  }

 protected:
  static void list(WeightList& weights, int64_t classes) {
    list_classifier(weights, classes);
    if (weights.config.head.norm) list_dense(weights);
  }
};

}  // namespace compression
