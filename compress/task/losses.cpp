#include "compress/task/losses.h"

#include <torch/types.h>

#include <stdexcept>

#include "compress/model/autocast.h"  // Autocast
#include "compress/model/batch.h"     // ignored_label, labelled_tokens

namespace compression {

using torch::Tensor;

Tensor cross_entropy(const Tensor& logits, const Tensor& classes, int64_t count, const LabelLoss& options) {
  const auto& weights = options.class_weights;
  const bool counts = count > 0 && (!weights.defined() || label_weights(classes, weights).sum().item<double>() > 0);
  // The sum of nothing is 0, and has a gradient of zeros; its mean would be no number.
  return torch::cross_entropy_loss(logits, classes, weights.defined() ? weights.to(logits.options()) : weights,
                                   counts ? at::Reduction::Mean : at::Reduction::Sum, ignored_label, options.smoothing);
}

Tensor label_weights(const Tensor& labels, const Tensor& class_weights) {
  const auto labelled = labels.ne(ignored_label);
  const auto of_labels = class_weights.to(torch::kDouble).index_select(0, torch::where(labelled, labels, 0).flatten());
  return (of_labels.view_as(labels) * labelled).view({labels.size(0), -1}).sum(1);
}

Tensor labelled_logits(const Tensor& logits, const Tensor& labels) {
  return logits.dim() == 2 ? logits : logits.flatten(0, 1).index_select(0, labelled_tokens(labels));
}

Tensor without_padding(const Tensor& logits, const Tensor& mask) {
  // Wide enough for the number, and for what a loss makes of it.
  const bool narrow = logits.scalar_type() == torch::kHalf || logits.scalar_type() == torch::kBFloat16;
  return (narrow ? logits.to(torch::kFloat) : logits).masked_fill(mask.eq(0).unsqueeze(-1), -1e9);
}

Tensor pair_cosines(const Tensor& embeddings) {
  constexpr double smallest_norm = 1e-8;  // as torch.cosine_similarity
  const auto first = embeddings.slice(0, 0, std::nullopt, 2), second = embeddings.slice(0, 1, std::nullopt, 2);
  const auto norm = [](const Tensor& rows) { return rows.norm(2, {-1}).clamp_min(smallest_norm); };
  return (first * second).sum(-1) / (norm(first) * norm(second));
}

Tensor mean_where(const Tensor& values, const Tensor& weight) {
  return (values * weight).sum() / weight.expand_as(values).sum().clamp_min(1.0);
}

Tensor logits_loss(const Tensor& student, const Tensor& teacher, double temperature, Distance distance) {
  const auto full = [](const Tensor& x) { return x.to(torch::kFloat); };
  if (student.size(0) == 0) return full(student).sum();  // 0, with a gradient
  const Autocast exact(std::nullopt, student.device());
  if (distance == Distance::mse) return torch::mse_loss(full(student), full(teacher));
  const auto log_student = torch::log_softmax(full(student) / temperature, -1);
  const auto log_teacher = torch::log_softmax(full(teacher) / temperature, -1);
  const auto by = temperature * temperature / static_cast<double>(student.size(0));
  switch (distance) {
    case Distance::kl:
      return torch::kl_div(log_student, log_teacher, at::Reduction::Sum, /*log_target=*/true) * by;
    case Distance::cross_entropy:
      return -(log_teacher.exp() * log_student).sum() * by;
    default:
      throw std::invalid_argument("logits: a distance that it does not know");
  }
}

}  // namespace compression
