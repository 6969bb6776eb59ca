#pragma once
// Distillation losses on what is inside of models, each on tensors of any; those on logits are the task's
// (compress/task/task.h). Sums and logarithms are float32.

#include <torch/types.h>

#include <vector>

#include "compress/task/losses.h"  // Distance

namespace compression::distill {

/// Hidden states over the tokens that are not padding; 0 where there is none, as of all losses below. student, teacher:
/// [batch, sequence, width]; mask: int64 [batch, sequence].
///   mse     mean squared difference, as in TinyBERT (arXiv 1909.10351)
///   normalized_mse  the same, divided by the mean square of the teacher's, as in SquareHead (arXiv 2310.06927): layers
///           count alike, however large their numbers. Of each token by itself, so that it is a mean over tokens
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
