#include "compress/task/token_labels.h"

#include <torch/types.h>

#include "compress/model/autocast.h"  // Autocast
#include "compress/model/batch.h"     // ignored_label, labelled_tokens

namespace compression {

using torch::Tensor;

Tensor TokenLabels::label_loss(const Tensor& logits, const Tensor& labels, const Tensor&,
                               const LabelLoss& options) const {
  const Autocast exact(std::nullopt, logits.device());
  const auto tokens = labelled_tokens(labels);
  return cross_entropy(labelled_logits(logits, labels), labels.flatten().index_select(0, tokens), tokens.size(0),
                       options);
}

Tensor TokenLabels::label_counts(const Tensor& labels) const {
  return labels.ne(ignored_label).sum(1);
}

Tensor TokenLabels::teacher_loss(const Tensor& student, const Tensor& teacher, const Tensor& labels, const Tensor& mask,
                                 double temperature, Distance distance) const {
  const Autocast exact(std::nullopt, student.device());
  const auto chosen = labels.defined() ? labels : mask.masked_fill(mask.eq(0), ignored_label);
  return logits_loss(labelled_logits(student, chosen), labelled_logits(teacher, chosen), temperature, distance);
}

int64_t TokenLabels::teacher_count(const Tensor& labels, const Tensor& mask, Distance, bool) const {
  return labels.defined() ? label_count(labels) : mask.sum().item<int64_t>();
}

std::pair<Tensor, Tensor> TokenLabels::compared(const Tensor& logits, const Tensor& labels) const {
  return {labelled_logits(logits, labels).argmax(-1), labels.flatten().index_select(0, labelled_tokens(labels))};
}

}  // namespace compression
