#include "compress/train/objective.h"

#include <torch/types.h>

namespace compression {

torch::Tensor LabelObjective::loss(const Batch& batch) {
  return torch::cross_entropy_loss(model_->forward(batch).logits, batch.labels);
}

}  // namespace compression
