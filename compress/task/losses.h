#pragma once
// What the losses of tasks are made of.

#include <torch/types.h>

#include <array>
#include <string_view>
#include <utility>

namespace compression {

/// What the cross-entropy of classes and tags may be besides: on labels that have `smoothing` of their probability
/// shared out to all classes (Szegedy et al., arXiv 1512.00567), and a mean in which each label counts as its class's
/// weight says, as PyTorch's CrossEntropyLoss has both.
struct LabelLoss {
  double smoothing = 0.0;
  torch::Tensor class_weights = {};  // float32 [classes]; undefined: all 1
};

/// logits: [rows, classes]; classes: int64 [rows], or ignored_label; `count`: how many rows have a class. The mean; of
/// none 0, with a gradient of zeros.
torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& classes, int64_t count,
                            const LabelLoss& options);

/// The weights of each row's labels together, float64 [batch]. class_weights: float32 [classes].
torch::Tensor label_weights(const torch::Tensor& labels, const torch::Tensor& class_weights);

/// Logits of the labelled tokens, [labelled tokens, ...], of logits that are of all tokens or of these already.
torch::Tensor labelled_logits(const torch::Tensor& logits, const torch::Tensor& labels);

/// Logits [batch, sequence, ...] whose padding is so small that no softmax over the sequence sees it.
torch::Tensor without_padding(const torch::Tensor& logits, const torch::Tensor& mask);

/// Cosines of the pairs of rows, [batch / 2].
torch::Tensor pair_cosines(const torch::Tensor& embeddings);

/// The mean of `values` where `weight`, which is broadcast to them, is 1; 0 where it is 1 nowhere.
torch::Tensor mean_where(const torch::Tensor& values, const torch::Tensor& weight);

/// How far two outputs are from each other. Not every loss knows every distance.
enum class Distance { kl, cross_entropy, mse, normalized_mse, cosine };
constexpr std::array<std::pair<Distance, std::string_view>, 5> enum_names(Distance) {
  return {{{Distance::kl, "kl"},
           {Distance::cross_entropy, "cross_entropy"},
           {Distance::mse, "mse"},
           {Distance::normalized_mse, "normalized_mse"},
           {Distance::cosine, "cosine"}}};
}

/// Logits, float [batch, classes], mean over the batch.
///   kl             T^2 KL(softmax(teacher / T) || softmax(student / T)): Hinton et al., arXiv 1503.02531
///   cross_entropy  -T^2 sum softmax(teacher / T) log softmax(student / T): the same gradient
///   mse            mean squared difference, over classes too, whatever the temperature: Kim et al., arXiv 2105.08919
/// Throws std::invalid_argument for another distance.
torch::Tensor logits_loss(const torch::Tensor& student, const torch::Tensor& teacher, double temperature,
                          Distance distance = Distance::kl);

}  // namespace compression
