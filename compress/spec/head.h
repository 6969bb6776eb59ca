#pragma once
// What a head is: a struct in a file of its own, compress/spec/heads/NAME.h, which compress/spec/heads.h lists. It has
// the head's weights, and its mathematics once: computed with tensors (compress/model/head.cpp), or written down as
// TorchScript (export/model_script.cpp).
//
//   static void list(WeightList& weights);                  its modules' names are those that `ops` is asked for
//   template <class Ops> static auto logits(Ops& ops);      of the last hidden states

#include "compress/spec/weight_list.h"  // WeightList

namespace compression {

/// How much of a head the runtime computes with the encoder: nothing, its dense layer with the activation, or all.
enum class RuntimePart { none, dense, all };

/// What most heads are alike in.
struct AnyHead {
  static constexpr RuntimePart in_runtime = RuntimePart::none;
  static constexpr bool has_dropout = true;                      // before the classifier
  static bool reads_first(const ModelConfig&) { return false; }  // reads each text's first token alone
  static void check(const ModelConfig&) {}                       // throws for a description that can't be computed

  /// A dense layer and a norm, where HeadOptions ask for them.
  static void list_dense(WeightList& weights) {
    weights.linear(Role::head_dense, "dense", weights.hidden(), weights.hidden(), weights.config.head.dense_bias);
    if (weights.config.head.norm) weights.norm(Role::head_norm, "LayerNorm", weights.hidden(), weights.config.norm);
  }

  /// Dense layer, activation, norm.
  template <class Ops, class Value>
  static Value dense(Ops& ops, const Value& x) {
    const auto y = ops.activated(ops.linear("dense", x), ops.config().head.activation);
    return ops.config().head.norm ? ops.norm("LayerNorm", y) : y;
  }

  static void list_classifier(WeightList& weights, int64_t classes) {
    weights.linear(Role::classifier, "classifier", {.label = Label::classes, .size = classes}, weights.hidden());
  }
};

/// What is left to compute of what the runtime gives: the states, or of a head whose dense layer it has what that made.
template <class Kind, class Ops>
auto behind_runtime(Ops& ops) {
  if constexpr (Kind::in_runtime == RuntimePart::dense) {
    return Kind::behind_dense(ops, ops.states());
  } else {
    return Kind::logits(ops);
  }
}

}  // namespace compression
