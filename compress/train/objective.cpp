#include "compress/train/objective.h"

#include <torch/types.h>

#include "compress/task/task.h"  // label_loss

namespace compression {

torch::Tensor LabelObjective::loss(const Batch& batch) {
  return label_loss(model_->config().task, model_->forward(batch).logits, batch.labels, batch.attention_mask);
}

}  // namespace compression
