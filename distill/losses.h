#pragma once
// Distillation losses, each on tensors of any model.

#include <torch/types.h>

#include <vector>

namespace compression::distill {

/// Hinton et al., arXiv 1503.02531: T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch.
/// Both float [batch, classes].
torch::Tensor logits_loss(const torch::Tensor& student, const torch::Tensor& teacher, double temperature);

/// Mean squared error of hidden states over the tokens that are not padding, as in TinyBERT (arXiv 1909.10351).
/// student, teacher: [batch, sequence, width]; mask: int64 [batch, sequence].
torch::Tensor hidden_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask);

/// Mean squared error of attention probabilities over pairs of tokens that are not padding. student, teacher:
/// [batch, heads, query, key]; where the numbers of heads differ, the means over heads are compared.
torch::Tensor attention_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask);

/// A layer of the student and the layer of the teacher that it learns from, from 0.
struct LayerPair {
  int64_t student, teacher;
  bool operator==(const LayerPair&) const = default;
};

/// Evenly spread, last to last: student layer i learns from teacher layer (i + 1) * teachers / students - 1, rounded
/// down.
std::vector<LayerPair> uniform_layer_map(int64_t student_layers, int64_t teacher_layers);

}  // namespace compression::distill
