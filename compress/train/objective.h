#pragma once
// What a loop differentiates: fine-tuning, distillation and importance scoring supply one each.

#include <span>
#include <vector>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // Batch
#include "compress/task/task.h"          // Task, LabelLoss

namespace compression {

/// A loss is a mean, or a sum of several, each over something that it counts: texts, labelled tokens, pairs of tokens.
/// What it counts differs from batch to batch, so that the loss of a step of several batches is not the mean of theirs:
/// each mean has the weight of its count. So no number depends on which texts share a batch.
class Objective {
 public:
  virtual ~Objective() = default;

  /// The mean loss over the batch: a scalar that has a gradient. 0 where the batch has nothing that it counts.
  virtual torch::Tensor loss(const Batch& batch) = 0;

  /// What each mean of the loss counts in the batch; unless overridden there is one, over texts.
  virtual std::vector<double> counts(const Batch& batch) const { return {static_cast<double>(batch.size())}; }

  /// What the batch adds to the loss of a step whose batches count `of_step` together: each mean times its share. With
  /// the batch's own counts it is loss(). To be overridden where there are several means.
  virtual torch::Tensor part(const Batch& batch, std::span<const double> of_step);

  /// What each text has of the count, float64 [batch]: the loss of a text alone is a mean over it. Throws
  /// std::invalid_argument where there are several means.
  virtual torch::Tensor counts_by_text(const Batch& batch) const;

  /// What is trained besides the model: learnt projections.
  virtual std::vector<torch::Tensor> parameters() { return {}; }
};

/// Whether a batch or step has nothing that its objective counts.
bool is_nothing(std::span<const double> counts);

/// Of a mean over what the texts of a batch have, `count` together: what d mean / d text is multiplied by to be the
/// gradient of the text's own mean. float64 [batch]; 0 for a text that has nothing.
torch::Tensor to_own_means(double count, const torch::Tensor& counts_by_text);

/// The task's loss on labels.
class LabelObjective : public Objective {
 public:
  explicit LabelObjective(Model model, LabelLoss options = {})
      : model_(std::move(model)), options_(std::move(options)) {}
  torch::Tensor loss(const Batch& batch) override;
  std::vector<double> counts(const Batch& batch) const override;
  torch::Tensor counts_by_text(const Batch& batch) const override;

 private:
  const Task& task() const { return find_task(model_->config().task); }

  Model model_;
  LabelLoss options_;
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
