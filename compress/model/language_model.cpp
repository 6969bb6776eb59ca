#include "compress/model/language_model.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <stdexcept>

#include "compress/base/error.h"  // UnsupportedError

namespace compression {

LanguageModelImpl::LanguageModelImpl(ModelConfig config) : config_(std::move(config)) {
  if (config_.language_head == LanguageHead::none) throw std::invalid_argument("a language model without a head");
  stack = register_module("bert", Encoder(config_));
  if (!config_.decoder.empty()) {
    auto second = config_;
    second.layers = config_.decoder;
    decoder = register_module("decoder", Encoder(second, stack->embeddings->word_embeddings));
  }
  if (config_.language_head == LanguageHead::own) {
    lm_head = register_module("lm_head", Linear(config_.hidden_size, config_.vocab_size, /*has_bias=*/false));
  }
}

torch::Tensor LanguageModelImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                                         const torch::Tensor& decoder_input_ids,
                                         const torch::Tensor& decoder_attention_mask) {
  if (decoder.is_empty() == decoder_input_ids.defined()) {
    throw std::invalid_argument(decoder ? "an encoder and a decoder, without the decoder's words"
                                        : "words of a second stack, where there is one");
  }
  const Capture all{.last_hidden_state = true};
  auto states = stack->forward(input_ids, attention_mask, {}, all).last_hidden_state;
  if (decoder) {
    const Memory memory{states, stack->attention_context(input_ids, attention_mask).mask};
    states = decoder->forward(decoder_input_ids, decoder_attention_mask, {}, all, memory).last_hidden_state;
  }
  return logits_of(states);
}

torch::Tensor LanguageModelImpl::next_word(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                                           KeyValueCache& cache) {
  if (decoder) throw UnsupportedError("a decoder behind an encoder, expected one alone");
  return logits_of(stack->forward(input_ids, attention_mask, cache).slice(1, -1).squeeze(1));
}

void LanguageModelImpl::check_words(std::span<const int64_t> ids, const std::string& what) const {
  for (const auto id : ids) {
    if (id >= 0 && id < config_.vocab_size) continue;
    throw UnsupportedError(
        fmt::format("{}: found the id {}, expected ids below {}, the model's words", what, id, config_.vocab_size));
  }
}

torch::Tensor LanguageModelImpl::logits_of(const torch::Tensor& states) {
  const auto logits =
      (lm_head ? lm_head->forward(states) : torch::linear(states, stack->embeddings->word_embeddings->full_weight()))
          .to(torch::kFloat);
  const auto cap = config_.logit_cap;
  return cap == 0.0 ? logits : torch::tanh(logits / cap) * cap;
}

torch::Tensor next_word_loss(const torch::Tensor& logits, const torch::Tensor& input_ids,
                             const torch::Tensor& attention_mask) {
  constexpr int64_t ignored = -100;
  auto targets = input_ids.slice(1, 1);
  if (attention_mask.defined()) targets = targets.masked_fill(attention_mask.slice(1, 1).eq(0), ignored);
  return torch::cross_entropy_loss(logits.slice(1, 0, -1).flatten(0, 1), targets.flatten(), /*weight=*/{},
                                   at::Reduction::Mean, ignored);
}

}  // namespace compression
