#pragma once
// The distillation objective: a weighted sum of losses between a student's and a teacher's outputs.

#include <vector>

#include "compress/train/objective.h"  // Objective
#include "distill/config.h"            // LossConfig
#include "distill/losses.h"            // LayerPair

namespace compression::distill {

/// What the losses need to know of the two models.
struct ModelShape {
  int64_t layers = 0;
  int64_t hidden_size = 0;
};

/// The sum for models of any kind. Where hidden sizes differ, hidden states and embeddings of the student go through a
/// learnt projection to the teacher's size (no bias), one a layer pair, initialised from LibTorch's generator.
class DistillationLoss {
 public:
  /// Throws ConfigError if a layer map names a layer that is not there.
  DistillationLoss(std::vector<LossConfig> losses, const ModelShape& student, const ModelShape& teacher);

  /// What both models have to return.
  Capture capture() const;

  /// Whether the teacher's logits are all that is needed of it.
  bool logits_only() const;

  /// A scalar. Hidden states hold the embeddings first, then each layer's output. labels: int64 [batch], may be
  /// undefined if no loss is on them; mask: int64 [batch, sequence].
  torch::Tensor operator()(const ModelOutput& student, const ModelOutput& teacher, const torch::Tensor& labels,
                           const torch::Tensor& mask) const;

  /// The learnt projections, [teacher size, student size] each.
  const std::vector<torch::Tensor>& parameters() const { return projections_; }
  void to(torch::Device device);

 private:
  struct Term {
    LossConfig config;
    std::vector<LayerPair> layers;    // positions in hidden_states or attentions
    std::vector<size_t> projections;  // one a pair, where sizes differ
  };
  std::vector<Term> terms_;
  std::vector<torch::Tensor> projections_;
};

/// Trains `student` on `loss` against `teacher`, which is frozen and in evaluation mode. The teacher runs for every
/// batch, unless its logits are given: float32 [examples, classes], by Batch::examples, enough where
/// loss.logits_only().
class DistillObjective : public Objective {
 public:
  DistillObjective(Model student, Model teacher, DistillationLoss loss, torch::Tensor teacher_logits = {});

  torch::Tensor loss(const Batch& batch) override;
  std::vector<torch::Tensor> parameters() override { return loss_.parameters(); }

 private:
  Model student_, teacher_;
  DistillationLoss loss_;
  torch::Tensor teacher_logits_;
};

/// A student that is `from` with only these layers, in this order. Layers that share weights still do. Throws
/// ConfigError if one is not there, UnsupportedError if what is left shares weights in a way that config.json can't
/// say.
Model keep_layers(const Model& from, const std::vector<int64_t>& layers);

}  // namespace compression::distill
