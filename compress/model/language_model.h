#pragma once
// A decoder that gives the logits of each next word. Its description is a ModelConfig with a language_head.

#include "compress/model/encoder.h"  // Encoder

namespace compression {

class LanguageModelImpl : public torch::nn::Module {
 public:
  /// Its weights are still to be filled. Throws std::invalid_argument for a config without a language_head.
  explicit LanguageModelImpl(ModelConfig config);

  /// input_ids: int64 [batch, sequence]; attention_mask: the same, or undefined. float32 [batch, sequence, vocabulary]:
  /// at each place the logits of the word behind it. Throws UnsupportedError if the sequence is longer than the model's
  /// positions.
  torch::Tensor forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask = {});

  const ModelConfig& config() const { return config_; }

  Encoder stack{nullptr};
  Linear lm_head{nullptr};  // null where the words' table serves

 private:
  ModelConfig config_;
};
TORCH_MODULE(LanguageModel);

/// The mean cross-entropy of the words behind the first, in nats: as transformers computes it of labels that are the
/// ids. `attention_mask` may be undefined; words of mask 0 don't count.
torch::Tensor next_word_loss(const torch::Tensor& logits, const torch::Tensor& input_ids,
                             const torch::Tensor& attention_mask = {});

}  // namespace compression
