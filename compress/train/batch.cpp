#include "compress/train/batch.h"

namespace compression {

Batch Batch::to(torch::Device device) const {
  Batch moved = *this;
  for (auto* tensor : {&moved.input_ids, &moved.attention_mask, &moved.token_type_ids, &moved.labels}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return moved;
}

}  // namespace compression
