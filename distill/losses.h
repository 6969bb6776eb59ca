#pragma once
// Distillation losses, each on tensors of any model. Sums and logarithms are float32.

#include <torch/types.h>

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/spec/config.h"  // TaskType

namespace compression::distill {

/// How far two outputs are from each other. Not every loss knows every distance.
enum class Distance { kl, cross_entropy, mse, cosine };
constexpr std::array<std::pair<Distance, std::string_view>, 4> enum_names(Distance) {
  return {{{Distance::kl, "kl"},
           {Distance::cross_entropy, "cross_entropy"},
           {Distance::mse, "mse"},
           {Distance::cosine, "cosine"}}};
}

/// Logits, float [batch, classes], mean over the batch.
///   kl             T^2 KL(softmax(teacher / T) || softmax(student / T)): Hinton et al., arXiv 1503.02531
///   cross_entropy  -T^2 sum softmax(teacher / T) log softmax(student / T): the same gradient
///   mse            mean squared difference, over classes too, whatever the temperature: Kim et al., arXiv 2105.08919
torch::Tensor logits_loss(const torch::Tensor& student, const torch::Tensor& teacher, double temperature,
                          Distance distance = Distance::kl);

/// The same for other tasks' logits, and logits_loss() for classification; shapes of logits and labels are those of
/// compress/task/task.h, and labels may be undefined.
///   multi_label         T^2 times the binary cross-entropy of both models' logits / T; mse: mean squared difference
///   regression          mean squared difference
///   embedding           squared distance of the unit vectors, 2 (1 - cosine), mean over texts; where the models'
///                       widths differ, mean squared difference of the cosines of all texts of the batch (similarity-
///                       preserving distillation, arXiv 1907.09682)
///   token_classification, masked_lm   logits_loss() over the labelled tokens, over those of `mask` without labels
///   question_answering  logits_loss() over the tokens that are not padding, mean of start and end; mse: mean squared
///                       difference over these tokens
/// 0 where the batch has nothing of what the mean is over.
torch::Tensor task_logits_loss(TaskType task, const torch::Tensor& student, const torch::Tensor& teacher,
                               const torch::Tensor& labels, const torch::Tensor& mask, double temperature,
                               Distance distance = Distance::kl);

/// What task_logits_loss() is a mean over: texts or windows, tokens, or pairs of texts. mask: int64 [batch, sequence].
int64_t task_logits_count(TaskType task, const torch::Tensor& labels, const torch::Tensor& mask, Distance distance,
                          bool same_width = true);

/// Hidden states over the tokens that are not padding; 0 where there is none, as of all losses below. student, teacher:
/// [batch, sequence, width]; mask: int64 [batch, sequence].
///   mse     mean squared difference, as in TinyBERT (arXiv 1909.10351)
///   cosine  mean of 1 - cosine of each token's vectors, as in DistilBERT (arXiv 1910.01108)
torch::Tensor hidden_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                          Distance distance = Distance::mse);

/// The same of each text alone: [batch].
torch::Tensor hidden_losses(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                            Distance distance = Distance::mse);

/// Attention probabilities between tokens that are not padding. student, teacher: [batch, heads, query, key]; where the
/// numbers of heads differ, the means over heads are compared.
///   mse     mean squared difference over pairs of tokens (TinyBERT)
///   kl      KL(teacher || student) over keys, mean over queries and heads: MiniLM (arXiv 2002.10957)
///   cosine  1 - cosine of each query's probabilities, mean over queries and heads
torch::Tensor attention_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                             Distance distance = Distance::mse);

/// What attention_loss() is a mean over: pairs of tokens of mse, else queries.
int64_t attention_count(const torch::Tensor& mask, Distance distance);

/// Self-attention relations of MiniLMv2 (Wang et al., arXiv 2012.15828): queries, keys or values, [batch, sequence,
/// width], are dealt out to `heads` relation heads; KL(teacher || student) of softmax(x x^T / sqrt(width / heads)) over
/// tokens that are not padding, mean over tokens and heads. The widths may differ; each is a multiple of `heads`.
torch::Tensor relation_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                            int64_t heads);

/// A layer of the student and the layer of the teacher that it learns from, from 0.
struct LayerPair {
  int64_t student, teacher;
  bool operator==(const LayerPair&) const = default;
};

/// Evenly spread, last to last: student layer i learns from teacher layer (i + 1) * teachers / students - 1, rounded
/// down.
std::vector<LayerPair> uniform_layer_map(int64_t student_layers, int64_t teacher_layers);

/// The student's last layers learn from the teacher's last layers: all that both have.
std::vector<LayerPair> last_layer_map(int64_t student_layers, int64_t teacher_layers);

}  // namespace compression::distill
