#include "compress/train/objective.h"

#include <torch/types.h>

#include "compress/task/task.h"  // label_loss

namespace compression {

torch::Tensor LabelObjective::loss(const Batch& batch) {
  return label_loss(model_->config().task, model_->forward(batch).logits, batch.labels, batch.attention_mask);
}

SoftLabelObjective::SoftLabelObjective(Model model, torch::Tensor teacher_logits, double temperature)
    : model_(std::move(model)), teacher_logits_(std::move(teacher_logits)), temperature_(temperature) {}

torch::Tensor SoftLabelObjective::loss(const Batch& batch) {
  const auto teacher =
      teacher_logits_.index_select(0, batch.examples.to(teacher_logits_.device())).to(batch.input_ids.device());
  return torch::cross_entropy_loss(model_->forward(batch).logits / temperature_,
                                   torch::softmax(teacher / temperature_, -1));
}

}  // namespace compression
