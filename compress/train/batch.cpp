#include "compress/train/batch.h"

#include <spdlog/spdlog.h>

#include "compress/evaluate/evaluate.h"  // Scorer
#include "compress/task/task.h"          // make_scorer

namespace compression {

torch::Tensor labelled_tokens(const torch::Tensor& labels) {
  return labels.flatten().ne(ignored_label).nonzero().squeeze(1);
}

void BatchSource::tell_left_out(const std::shared_ptr<spdlog::logger>& logger) const {
  if (left_out() == 0 || told_.exchange(true)) return;
  logger->info("{} of {} texts are left out: they have no token, or none with a label or to mask", left_out(), size());
}

std::unique_ptr<Scorer> BatchSource::scorer() const {
  return make_scorer({}, Metric::accuracy);
}

Batch Batch::to(torch::Device device) const {
  Batch moved = *this;
  for (auto* tensor : {&moved.input_ids, &moved.attention_mask, &moved.token_type_ids, &moved.labels}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return moved;
}

}  // namespace compression
