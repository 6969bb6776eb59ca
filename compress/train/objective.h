#pragma once
// What a loop differentiates: fine-tuning, distillation and importance scoring supply one each.

#include "compress/model/model.h"  // Model
#include "compress/train/batch.h"  // Batch

namespace compression {

class Objective {
 public:
  virtual ~Objective() = default;

  /// The mean loss over the batch's examples: a scalar that has a gradient.
  virtual torch::Tensor loss(const Batch& batch) = 0;

  /// What is trained besides the model: learnt projections.
  virtual std::vector<torch::Tensor> parameters() { return {}; }
};

/// The task's loss on labels (label_loss).
class LabelObjective : public Objective {
 public:
  explicit LabelObjective(Model model) : model_(std::move(model)) {}
  torch::Tensor loss(const Batch& batch) override;

 private:
  Model model_;
};

/// Cross-entropy on another model's probabilities, both models' logits divided by `temperature`. Hinton et al., arXiv
/// 1503.02531, equation 2.
class SoftLabelObjective : public Objective {
 public:
  /// teacher_logits: float32 [examples, classes], by Batch::examples.
  SoftLabelObjective(Model model, torch::Tensor teacher_logits, double temperature);
  torch::Tensor loss(const Batch& batch) override;

 private:
  Model model_;
  torch::Tensor teacher_logits_;
  double temperature_;
};

}  // namespace compression
