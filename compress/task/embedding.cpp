#include <torch/types.h>

#include <array>

#include "compress/model/autocast.h"  // Autocast
#include "compress/task/tasks.h"

namespace compression {
namespace {

using torch::Tensor;

/// A vector a text: squared error of the cosine of a pair (CosineSimilarityLoss of sentence-transformers).
class EmbeddingTask : public Task {
 public:
  EmbeddingTask() : Task(TaskType::embedding) {}

  Tensor label_loss(const Tensor& logits, const Tensor& labels, const Tensor&, const LabelLoss&) const override {
    const Autocast exact(std::nullopt, logits.device());
    return torch::mse_loss(pair_cosines(logits), of_pairs(labels).to(logits.scalar_type()));
  }

  int64_t label_count(const Tensor& labels) const override { return labels.size(0) / 2; }

  /// Squared distance of the unit vectors, 2 (1 - cosine), mean over texts; where the models' widths differ, mean
  /// squared difference of the cosines of all texts of the batch (similarity-preserving distillation, arXiv
  /// 1907.09682).
  Tensor teacher_loss(const Tensor& student, const Tensor& teacher, const Tensor&, const Tensor&, double,
                      Distance) const override {
    const Autocast exact(std::nullopt, student.device());
    if (student.size(1) == teacher.size(1)) return (student - teacher).square().sum(-1).mean();
    const auto cosines = [](const Tensor& rows) {
      const auto units = rows / rows.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
      return units.matmul(units.t());
    };
    return torch::mse_loss(cosines(student), cosines(teacher));
  }

  int64_t teacher_count(const Tensor&, const Tensor& mask, Distance, bool same_width) const override {
    const auto texts = mask.size(0);
    return same_width ? texts : texts * texts;
  }

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{spearman, pearson, mse};
    return all;
  }

  std::pair<Tensor, Tensor> compared(const Tensor& logits, const Tensor& labels) const override {
    return {pair_cosines(logits), of_pairs(labels)};
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t, int64_t) const override { return {texts, -1}; }

 private:
  static Tensor of_pairs(const Tensor& labels) { return labels.slice(0, 0, std::nullopt, 2); }
};

}  // namespace

const Task& embedding_task() {
  static const EmbeddingTask task;
  return task;
}

}  // namespace compression
