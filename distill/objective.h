#pragma once
// The distillation objective: a weighted sum of losses between a student's and a teacher's outputs.

#include <optional>
#include <span>
#include <vector>

#include "compress/task/task.h"        // Task
#include "compress/train/objective.h"  // Objective
#include "distill/config.h"            // LossConfig
#include "distill/losses.h"            // LayerPair
#include "distill/teacher_outputs.h"   // TeacherOutputs

namespace compression::distill {

/// What the losses need to know of the two models.
struct ModelShape {
  int64_t layers = 0;
  int64_t hidden_size = 0;
  std::vector<int64_t> attention_widths = {};  // of the queries of each layer; for relations
  std::vector<int64_t> heads = {};             // of each layer; for relations
};
ModelShape shape_of(const Model& model);

/// The sum for models of any kind. Where hidden sizes differ, hidden states and embeddings of the student go through a
/// learnt projection to the teacher's size (no bias), one a layer pair, initialised from LibTorch's generator.
class DistillationLoss {
 public:
  DistillationLoss() = default;

  /// Throws ConfigError if a layer map names a layer that is not there, or relation heads do not divide a layer's
  /// width.
  DistillationLoss(std::vector<LossConfig> losses, const ModelShape& student, const ModelShape& teacher,
                   TaskType task = TaskHead().task);

  /// What both models have to return.
  Capture capture() const;

  /// Whether the teacher's logits are all that is needed of it.
  bool logits_only() const;

  /// A scalar. Hidden states hold the embeddings first, then each layer's output. labels: the task's, may be
  /// undefined if no loss is on them; mask: int64 [batch, sequence]. shares: what each loss is multiplied by besides
  /// its weight, as Objective::part() says; empty: 1.
  torch::Tensor operator()(const ModelOutput& student, const ModelOutput& teacher, const torch::Tensor& labels,
                           const torch::Tensor& mask, std::span<const double> shares = {}) const;

  /// How many losses there are.
  size_t size() const { return terms_.size(); }

  /// What each of them is a mean over.
  std::vector<double> counts(const torch::Tensor& labels, const torch::Tensor& mask) const;

  /// The learnt projections, [teacher size, student size] each.
  const std::vector<torch::Tensor>& parameters() const { return projections_; }
  void to(torch::Device device);

 private:
  struct Term {
    LossConfig config;
    std::vector<LayerPair> layers;    // positions in what is captured
    std::vector<size_t> projections;  // one a pair, or one for all with minimum_distance; empty where sizes are equal
    std::vector<int64_t> relation_heads;  // one a pair
  };
  torch::Tensor on_layers(const Term& term, const ModelOutput& student, const ModelOutput& teacher,
                          const torch::Tensor& mask) const;
  torch::Tensor nearest_layers(const Term& term, const ModelOutput& student, const ModelOutput& teacher,
                               const torch::Tensor& mask) const;
  torch::Tensor projected(const Term& term, size_t pair, const torch::Tensor& hidden) const;

  const Task* task_ = &find_task(TaskHead().task);
  bool same_width_ = true;
  std::vector<Term> terms_;
  std::vector<torch::Tensor> projections_;
};

struct Teacher {
  Model model{nullptr};  // frozen, in evaluation mode; may be null where its outputs are given
  DistillationLoss loss;
  std::optional<TeacherOutputs> outputs = {};  // absent: the model runs for every batch
  double weight = 1.0;
};

/// The mean of the losses against all teachers, by their weights.
class DistillObjective : public Objective {
 public:
  DistillObjective(Model student, std::vector<Teacher> teachers);

  torch::Tensor loss(const Batch& batch) override;
  std::vector<double> counts(const Batch& batch) const override;
  torch::Tensor part(const Batch& batch, std::span<const double> of_step) override;
  std::vector<torch::Tensor> parameters() override;

 private:
  /// The loss with a share of each teacher's losses in turn, by which it is multiplied; empty: 1.
  torch::Tensor weighted(const Batch& batch, std::span<const double> shares);

  Model student_;
  std::vector<Teacher> teachers_;
  Capture capture_;  // of the student: what any of the losses needs
};

}  // namespace compression::distill
