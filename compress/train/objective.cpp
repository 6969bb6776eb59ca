#include "compress/train/objective.h"

#include <torch/types.h>

#include <algorithm>
#include <stdexcept>

namespace compression {

torch::Tensor Objective::part(const Batch& batch, std::span<const double> of_step) {
  const auto own = counts(batch);
  if (own.size() != 1) throw std::logic_error("an objective of several means has to say what a part of a step is");
  return loss(batch) * (of_step.front() > 0 ? own.front() / of_step.front() : 0.0);
}

torch::Tensor Objective::counts_by_text(const Batch& batch) const {
  if (counts(batch).size() != 1) throw std::invalid_argument("a sum of several means has no count of a text");
  return torch::ones({batch.size()}, torch::kDouble);
}

bool is_nothing(std::span<const double> counts) {
  return std::ranges::all_of(counts, [](double count) { return count == 0.0; });
}

torch::Tensor to_own_means(double count, const torch::Tensor& counts_by_text) {
  return torch::where(counts_by_text > 0, count / counts_by_text, torch::zeros_like(counts_by_text));
}

std::vector<double> LabelObjective::counts(const Batch& batch) const {
  if (options_.class_weights.defined()) return {counts_by_text(batch).sum().item<double>()};
  return {static_cast<double>(task().label_count(batch.at("labels")))};
}

torch::Tensor LabelObjective::counts_by_text(const Batch& batch) const {
  if (options_.class_weights.defined()) return label_weights(batch.labels(), options_.class_weights);
  return task().label_counts(batch.at("labels")).to(torch::kDouble);
}

torch::Tensor LabelObjective::loss(const Batch& batch) {
  return task().label_loss(model_->forward(batch).logits, batch.at("labels"), batch.attention_mask(), options_);
}

SoftLabelObjective::SoftLabelObjective(Model model, torch::Tensor teacher_logits, double temperature)
    : model_(std::move(model)), teacher_logits_(std::move(teacher_logits)), temperature_(temperature) {}

torch::Tensor SoftLabelObjective::loss(const Batch& batch) {
  const auto teacher =
      teacher_logits_.index_select(0, batch.examples.to(teacher_logits_.device())).to(batch.input_ids().device());
  return torch::cross_entropy_loss(model_->forward(batch).logits / temperature_,
                                   torch::softmax(teacher / temperature_, -1));
}

}  // namespace compression
