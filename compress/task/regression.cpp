#include <torch/types.h>

#include <array>

#include "compress/model/autocast.h"  // Autocast
#include "compress/task/tasks.h"

namespace compression {
namespace {

using torch::Tensor;

/// A number a text: squared error.
class Regression : public Task {
 public:
  Regression() : Task(TaskType::regression) {}

  Tensor label_loss(const Tensor& logits, const Tensor& labels, const Tensor&, const LabelLoss&) const override {
    const Autocast exact(std::nullopt, logits.device());
    return torch::mse_loss(logits.squeeze(-1), labels.to(logits.scalar_type()));
  }

  Tensor teacher_loss(const Tensor& student, const Tensor& teacher, const Tensor&, const Tensor&, double,
                      Distance) const override {
    const Autocast exact(std::nullopt, student.device());
    return torch::mse_loss(student, teacher);
  }

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{pearson, spearman, mse};
    return all;
  }

  std::pair<Tensor, Tensor> compared(const Tensor& logits, const Tensor& labels) const override {
    return {logits.squeeze(-1), labels};
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t, int64_t) const override { return {texts, 1}; }
};

}  // namespace

const Task& regression_task() {
  static const Regression task;
  return task;
}

}  // namespace compression
