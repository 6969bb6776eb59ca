#pragma once

#include "compress/spec/head.h"  // AnyHead

namespace compression {

/// Masked language modelling (BERT, arXiv 1810.04805): a dense layer to the width of the embeddings, an activation, a
/// norm, and the products with the embeddings of all words, which are the encoder's own. Logits: [batch, sequence,
/// vocabulary]; of a batch with labels only those of its labelled tokens, [labelled tokens, vocabulary], in their
/// order.
struct WordsHead : AnyHead {
  static constexpr RuntimePart in_runtime = RuntimePart::dense;

  static void list(WeightList& weights) {
    const auto& config = weights.config;
    weights.add(Role::head_bias, "bias", true, {{.label = Label::vocabulary, .size = config.vocab_size}});
    weights.linear(Role::head_dense, "dense", weights.embedding(), weights.hidden(), config.head.dense_bias);
    weights.norm(Role::head_norm, "LayerNorm", weights.embedding(), config.norm);
  }

  template <class Ops>
  static auto logits(Ops& ops) {
    const auto& config = ops.config();
    const auto x = ops.linear("dense", ops.asked_for(ops.states()));
    return words(ops, ops.activated(x, config.head.mlm_activation.value_or(config.hidden_act())));
  }

  template <class Ops, class Value>
  static auto behind_dense(Ops& ops, const Value& x) {
    return words(ops, ops.asked_for(x));
  }

 private:
  template <class Ops, class Value>
  static auto words(Ops& ops, const Value& x) {
    return ops.words(ops.norm("LayerNorm", x));
  }
};

}  // namespace compression
