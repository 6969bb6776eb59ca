#pragma once
// A task: what is computed of it besides its head (compress/model/head.h) and what is said of a text
// (compress/pipeline/prediction.h). One object and one file each; what is known of a task before anything is computed
// is a row of compress/spec/task.h. docs/tasks.md shows them side by side.
//
// clang-format off
// labels            of a batch                        logits
// classification    int64 [batch]                     [batch, classes]
// multi_label       float32 [batch, classes], 0 or 1  [batch, classes]
// regression        float32 [batch]                   [batch, 1]
// embedding         float32 [batch]: rows 2i and      [batch, hidden]
//                   2i + 1 are a pair, and have its
//                   score both
// token_            int64 [batch, sequence], or       [batch, sequence, tags], or of the labelled tokens alone:
// classification    ignored_label                     [labelled tokens, tags]
// masked_lm         int64 [batch, sequence], or       [batch, sequence, vocabulary], or of the labelled tokens alone
//                   ignored_label
// question_         int64 [batch, 2]: the first and   [batch, sequence, 2]
// answering         last token of the answer
// clang-format on

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "compress/spec/task.h"     // TaskTraits, TaskHead
#include "compress/task/losses.h"   // LabelLoss, Distance
#include "compress/task/metrics.h"  // Metric
#include "compress/task/scorer.h"   // Evaluation, Scorer

namespace compression {

/// Without state: any number of threads may call it. Tensors are those of the table above; mask: int64
/// [batch, sequence].
class Task {
 public:
  explicit Task(TaskType type) : traits(traits_of(type)) {}
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  const TaskTraits& traits;

  // ---- training

  /// The mean loss over what is labelled, a scalar; 0 where nothing is. Not under autocast.
  virtual torch::Tensor label_loss(const torch::Tensor& logits, const torch::Tensor& labels, const torch::Tensor& mask,
                                   const LabelLoss& options = {}) const = 0;

  /// What each row has of what label_loss() is a mean over, int64 [batch]; of a pair, both rows have the one. Unless
  /// overridden, 1.
  virtual torch::Tensor label_counts(const torch::Tensor& labels) const;

  /// What label_loss() is a mean over: texts with a class, pairs, labelled tokens, or rows.
  virtual int64_t label_count(const torch::Tensor& labels) const;

  /// How far a student's logits are from a teacher's, a scalar; 0 where the batch has nothing of what the mean is over.
  /// labels may be undefined.
  virtual torch::Tensor teacher_loss(const torch::Tensor& student, const torch::Tensor& teacher,
                                     const torch::Tensor& labels, const torch::Tensor& mask, double temperature,
                                     Distance distance = Distance::kl) const = 0;

  /// What teacher_loss() is a mean over: texts or windows unless overridden, tokens, or pairs of texts. `same_width`:
  /// whether both models' logits have one width.
  virtual int64_t teacher_count(const torch::Tensor& labels, const torch::Tensor& mask, Distance distance,
                                bool same_width = true) const;

  // ---- metrics

  /// Those that the task has, the default first.
  virtual std::span<const Metric> metrics() const = 0;

  /// An empty text where a metric can be computed for the head, else why not.
  std::string why_not(Metric metric, const TaskHead& head) const;

  /// What the metrics compare: what logits on the CPU say, and the labels, a row each.
  virtual std::pair<torch::Tensor, torch::Tensor> compared(const torch::Tensor& logits,
                                                           const torch::Tensor& labels) const = 0;

  // ---- outputs

  /// Sizes of the logits of a batch without labels; -1: any that is not 0.
  virtual std::vector<int64_t> logits_sizes(int64_t texts, int64_t tokens, int64_t labels) const = 0;

 protected:
  /// why_not() of one of the task's own metrics.
  virtual std::string needs_of(Metric metric, const TaskHead& head) const;
};

/// All, in the order of their rows.
std::span<const Task* const> tasks();

const Task& find_task(TaskType type);

/// The first metric that can be computed for the head.
Metric default_metric(const TaskHead& head);

/// Throws ConfigError, which names those that the task has, if it has not this one: f1 needs two classes, entity_f1
/// tags that is_entity_tag() knows.
void check_metric(Metric metric, const TaskHead& head);

/// A scorer on tensors, for all tasks but question_answering, whose answers are texts (datasets/answers.h).
std::unique_ptr<Scorer> make_scorer(const TaskHead& head, Metric metric);

}  // namespace compression
