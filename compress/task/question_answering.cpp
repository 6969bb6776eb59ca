#include <torch/types.h>

#include <array>
#include <stdexcept>

#include "compress/model/autocast.h"  // Autocast
#include "compress/task/tasks.h"

namespace compression {
namespace {

using torch::Tensor;

/// Start and end of an answer in a window of its context: the mean of their cross-entropies over tokens that are not
/// padding. Answers, and metrics of them, are of all windows of a question: datasets/answers.h.
class QuestionAnswering : public Task {
 public:
  QuestionAnswering() : Task(TaskType::question_answering) {}

  Tensor label_loss(const Tensor& logits, const Tensor& labels, const Tensor& mask, const LabelLoss&) const override {
    const Autocast exact(std::nullopt, logits.device());
    const auto real = without_padding(logits, mask);
    return (torch::cross_entropy_loss(real.select(-1, 0), labels.select(1, 0)) +
            torch::cross_entropy_loss(real.select(-1, 1), labels.select(1, 1))) /
           2;
  }

  /// logits_loss() over the tokens that are not padding, mean of start and end; mse: mean squared difference over
  /// these tokens.
  Tensor teacher_loss(const Tensor& student, const Tensor& teacher, const Tensor&, const Tensor& mask,
                      double temperature, Distance distance) const override {
    const Autocast exact(std::nullopt, student.device());
    if (distance == Distance::mse) {
      const auto full = [](const Tensor& x) { return x.to(torch::kFloat); };
      return mean_where((full(student) - full(teacher)).square(), full(mask).unsqueeze(-1));
    }
    const auto own = without_padding(student, mask), other = without_padding(teacher, mask);
    const auto of = [&](int64_t end) {
      return logits_loss(own.select(-1, end), other.select(-1, end), temperature, distance);
    };
    return (of(0) + of(1)) / 2;
  }

  int64_t teacher_count(const Tensor&, const Tensor& mask, Distance distance, bool) const override {
    return distance == Distance::mse ? mask.sum().item<int64_t>() : mask.size(0);
  }

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{f1, exact_match};
    return all;
  }

  std::pair<Tensor, Tensor> compared(const Tensor&, const Tensor&) const override {
    throw std::logic_error("answers are compared as texts: datasets/answers.h");
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t tokens, int64_t) const override {
    return {texts, tokens, 2};
  }
};

}  // namespace

const Task& question_answering_task() {
  static const QuestionAnswering task;
  return task;
}

}  // namespace compression
