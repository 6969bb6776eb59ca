#include "compress/model/batch.h"

namespace compression {

torch::Tensor labelled_tokens(const torch::Tensor& labels) {
  return labels.flatten().ne(ignored_label).nonzero().squeeze(1);
}

Batch Batch::to(torch::Device device) const {
  Batch moved = *this;
  for (auto* tensor : {&moved.input_ids, &moved.attention_mask, &moved.token_type_ids, &moved.labels}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return moved;
}

}  // namespace compression
