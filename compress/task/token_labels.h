#pragma once
// What tasks with a label for some of the tokens have in common.

#include "compress/task/task.h"  // Task

namespace compression {

/// Cross-entropy over the labelled tokens.
class TokenLabels : public Task {
 public:
  using Task::Task;

  torch::Tensor label_loss(const torch::Tensor& logits, const torch::Tensor& labels, const torch::Tensor& mask,
                           const LabelLoss& options) const override;
  torch::Tensor label_counts(const torch::Tensor& labels) const override;

  /// logits_loss() over the labelled tokens, over those of `mask` without labels.
  torch::Tensor teacher_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& labels,
                             const torch::Tensor& mask, double temperature, Distance distance) const override;
  int64_t teacher_count(const torch::Tensor& labels, const torch::Tensor& mask, Distance distance,
                        bool same_width) const override;

  std::pair<torch::Tensor, torch::Tensor> compared(const torch::Tensor& logits,
                                                   const torch::Tensor& labels) const override;
};

}  // namespace compression
