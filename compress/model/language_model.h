#pragma once
// A decoder that gives the logits of each next word, alone or behind an encoder. Its description is a ModelConfig with
// a language_head.

#include <cstdint>
#include <span>
#include <string>

#include "compress/model/encoder.h"  // Encoder

namespace compression {

class LanguageModelImpl : public torch::nn::Module {
 public:
  /// Its weights are still to be filled. Throws std::invalid_argument for a config without a language_head.
  explicit LanguageModelImpl(ModelConfig config);

  /// input_ids: int64 [batch, sequence]; attention_mask: the same, or undefined. float32 [batch, sequence, vocabulary]:
  /// at each place the logits of the word behind it. Where there is an encoder, it reads these, and logits are of the
  /// decoder's, int64 [batch, its sequence]. Throws UnsupportedError if a sequence is longer than the model's
  /// positions, std::invalid_argument if the decoder's are not there, or are where there is no encoder.
  torch::Tensor forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask = {},
                        const torch::Tensor& decoder_input_ids = {}, const torch::Tensor& decoder_attention_mask = {});

  /// Logits of the word behind the last of these, which follow those that `cache` holds and is given them too: float32
  /// [batch, vocabulary]. attention_mask: int64 [batch, cached and new tokens], or undefined; padding stands before the
  /// texts. Throws UnsupportedError as forward(), and where there is an encoder.
  torch::Tensor next_word(const torch::Tensor& input_ids, const torch::Tensor& attention_mask, KeyValueCache& cache);

  /// Throws UnsupportedError, which begins with `what`, for an id that the model has no word for.
  void check_words(std::span<const int64_t> ids, const std::string& what) const;

  const ModelConfig& config() const { return config_; }

  Encoder stack{nullptr};    // the first
  Encoder decoder{nullptr};  // behind it; null where there is one stack
  Linear lm_head{nullptr};   // null where the words' table serves

 private:
  torch::Tensor logits_of(const torch::Tensor& states);

  ModelConfig config_;
};
TORCH_MODULE(LanguageModel);

/// The mean cross-entropy of the words behind the first, in nats: as transformers computes it of labels that are the
/// ids. `attention_mask` may be undefined; words of mask 0 don't count.
torch::Tensor next_word_loss(const torch::Tensor& logits, const torch::Tensor& input_ids,
                             const torch::Tensor& attention_mask = {});

}  // namespace compression
