#include <torch/types.h>

#include <array>

#include "compress/model/autocast.h"  // Autocast
#include "compress/task/tasks.h"

namespace compression {
namespace {

using torch::Tensor;

/// Any number of classes a text: binary cross-entropy, mean over texts and classes.
class MultiLabel : public Task {
 public:
  MultiLabel() : Task(TaskType::multi_label) {}

  Tensor label_loss(const Tensor& logits, const Tensor& labels, const Tensor&, const LabelLoss&) const override {
    const Autocast exact(std::nullopt, logits.device());
    return torch::binary_cross_entropy_with_logits(logits, labels.to(logits.scalar_type()));
  }

  /// T^2 times the binary cross-entropy of both models' logits / T; mse: mean squared difference.
  Tensor teacher_loss(const Tensor& student, const Tensor& teacher, const Tensor&, const Tensor&, double temperature,
                      Distance distance) const override {
    const Autocast exact(std::nullopt, student.device());
    if (distance == Distance::mse) return torch::mse_loss(student, teacher);
    return torch::binary_cross_entropy_with_logits(student / temperature, torch::sigmoid(teacher / temperature)) *
           (temperature * temperature);
  }

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{micro_f1, macro_f1, accuracy};
    return all;
  }

  std::pair<Tensor, Tensor> compared(const Tensor& logits, const Tensor& labels) const override {
    return {logits.gt(0), labels.gt(0.5)};
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t, int64_t labels) const override { return {texts, labels}; }
};

}  // namespace

const Task& multi_label_task() {
  static const MultiLabel task;
  return task;
}

}  // namespace compression
