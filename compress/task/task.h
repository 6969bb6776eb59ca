#pragma once
// What is a task's own besides its head (compress/model/head.h): its loss on labels, and its metrics. docs/tasks.md
// shows them side by side.
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

#include "compress/spec/config.h"   // TaskType, TaskHead
#include "compress/task/metrics.h"  // Metric
#include "compress/task/scorer.h"   // Evaluation, Scorer

namespace compression {

/// The metrics that a task has, the default first.
std::span<const Metric> metrics_of(TaskType task);

/// The first that can be computed for the head.
Metric default_metric(const TaskHead& head);

/// Throws ConfigError, which names those that the task has, if it has not this one: f1 needs two classes, entity_f1
/// tags that metrics::is_entity_tag() knows.
void check_metric(Metric metric, const TaskHead& head);

/// What the cross-entropy of classification and token_classification may be besides: on labels that have `smoothing` of
/// their probability shared out to all classes (Szegedy et al., arXiv 1512.00567), and a mean in which each label
/// counts as its class's weight says, as PyTorch's CrossEntropyLoss has both.
struct LabelLoss {
  double smoothing = 0.0;
  torch::Tensor class_weights = {};  // float32 [classes]; undefined: all 1
};

/// The mean loss over what is labelled, a scalar; 0 where nothing is. Cross-entropy for classes, tags and words; binary
/// cross-entropy for multi_label; squared error for regression, and of the cosine of a pair for embedding; for
/// question_answering the mean of the cross-entropies of start and end over tokens that are not padding. mask: int64
/// [batch, sequence].
torch::Tensor label_loss(TaskType task, const torch::Tensor& logits, const torch::Tensor& labels,
                         const torch::Tensor& mask, const LabelLoss& options = {});

/// What label_loss() is a mean over: texts with a class, pairs of embedding, labelled tokens, or rows.
int64_t label_count(TaskType task, const torch::Tensor& labels);

/// What each row has of it, int64 [batch]; of a pair, both rows have the one.
torch::Tensor label_counts(TaskType task, const torch::Tensor& labels);

/// The weights of each row's labels together, float64 [batch]. class_weights: float32 [classes].
torch::Tensor label_weights(const torch::Tensor& labels, const torch::Tensor& class_weights);

/// Logits of the labelled tokens, [labelled tokens, ...], of logits that are of all tokens or of these already.
torch::Tensor labelled_logits(const torch::Tensor& logits, const torch::Tensor& labels);

/// Logits [batch, sequence, ...] whose padding is so small that no softmax over the sequence sees it.
torch::Tensor without_padding(const torch::Tensor& logits, const torch::Tensor& mask);

/// Cosines of the pairs of rows, [batch / 2].
torch::Tensor pair_cosines(const torch::Tensor& embeddings);

/// A scorer on tensors, for all tasks but question_answering, whose answers are texts (datasets/answers.h).
std::unique_ptr<Scorer> make_scorer(const TaskHead& head, Metric metric);

}  // namespace compression
