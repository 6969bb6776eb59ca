#include <fmt/format.h>
#include <torch/types.h>

#include <array>

#include "compress/model/autocast.h"  // Autocast
#include "compress/model/batch.h"     // ignored_label
#include "compress/task/tasks.h"

namespace compression {
namespace {

using torch::Tensor;

/// One class a text: cross-entropy over texts that have one.
class Classification : public Task {
 public:
  Classification() : Task(TaskType::classification) {}

  Tensor label_loss(const Tensor& logits, const Tensor& labels, const Tensor&,
                    const LabelLoss& options) const override {
    const Autocast exact(std::nullopt, logits.device());
    return cross_entropy(logits, labels, label_count(labels), options);
  }

  Tensor label_counts(const Tensor& labels) const override { return labels.ne(ignored_label).to(torch::kLong); }

  Tensor teacher_loss(const Tensor& student, const Tensor& teacher, const Tensor&, const Tensor&, double temperature,
                      Distance distance) const override {
    return logits_loss(student, teacher, temperature, distance);
  }

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{accuracy, f1, micro_f1, macro_f1, matthews};
    return all;
  }

  std::string needs_of(Metric metric, const TaskHead& head) const override {
    if (metric != Metric::f1 || head.labels.size() == 2) return "";
    return fmt::format("it is for two classes, and there are {}", head.labels.size());
  }

  std::pair<Tensor, Tensor> compared(const Tensor& logits, const Tensor& labels) const override {
    return {logits.argmax(-1), labels};
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t, int64_t labels) const override { return {texts, labels}; }
};

}  // namespace

const Task& classification_task() {
  static const Classification task;
  return task;
}

}  // namespace compression
