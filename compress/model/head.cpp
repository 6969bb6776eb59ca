#include "compress/model/head.h"

#include <torch/types.h>

namespace compression {

Head::Head(const ModelConfig& config)
    : dropout(config.classifier_dropout.value_or(config.hidden_dropout_prob)),
      initializer_range_(config.initializer_range) {}

void Head::make_classifier(int64_t in, int64_t labels) {
  classifier = register_module("classifier", Linear(in, labels));
}

void Head::initialize_classifier() {
  const at::NoGradGuard no_grad;
  classifier->weight.normal_(0.0, initializer_range_);
  classifier->bias.zero_();
}

SequenceHead::SequenceHead(const ModelConfig& config)
    : Head(config), activation(config.head.activation), first_dropout_(config.head.first_dropout) {
  make_classifier(config.hidden_size, static_cast<int64_t>(config.labels.size()));
  dense = register_module("dense", Linear(config.hidden_size, config.hidden_size));
}

torch::Tensor SequenceHead::forward(const EncoderOutput& encoded, const Batch&) {
  const auto first = torch::dropout(encoded.first, first_dropout_.value_or(dropout), is_training());
  const auto pooled = activate(dense->forward(first), activation);
  return classifier->forward(torch::dropout(pooled, dropout, is_training())).to(torch::kFloat);
}

TokenHead::TokenHead(const ModelConfig& config) : Head(config) {
  const bool spans = config.task == TaskType::question_answering;
  if (spans) dropout = 0.0;
  make_classifier(config.hidden_size, spans ? 2 : static_cast<int64_t>(config.labels.size()));
}

torch::Tensor TokenHead::forward(const EncoderOutput& encoded, const Batch&) {
  return classifier->forward(torch::dropout(encoded.last_hidden_state, dropout, is_training())).to(torch::kFloat);
}

MaskedLmHead::MaskedLmHead(const ModelConfig& config, Embedding words)
    : Head(config), activation(config.head.mlm_activation.value_or(config.hidden_act)), words_(std::move(words)) {
  dense = register_module("dense", Linear(config.hidden_size, config.embedding_size()));
  norm = register_module("LayerNorm", LayerNorm(config.embedding_size(), config.layer_norm_eps));
  bias = register_parameter("bias", torch::empty({config.vocab_size}));
  words_->read_elsewhere = true;
}

torch::Tensor MaskedLmHead::forward(const EncoderOutput& encoded, const Batch& batch) {
  auto x = encoded.last_hidden_state;
  if (batch.labels.defined()) x = x.flatten(0, 1).index_select(0, labelled_tokens(batch.labels));
  x = norm->forward(activate(dense->forward(x), activation));
  return torch::linear(x, words_->full_weight(), bias).to(torch::kFloat);
}

torch::Tensor EmbeddingHead::forward(const EncoderOutput& encoded, const Batch& batch) {
  const auto& states = encoded.last_hidden_state;
  const auto& mask = batch.attention_mask;
  const auto real = (mask.defined() ? mask : torch::ones_like(batch.input_ids)).to(torch::kFloat).unsqueeze(-1);
  const auto mean = (states.to(torch::kFloat) * real).sum(1) / real.sum(1).clamp_min(1.0);
  return mean / mean.norm(2, {-1}, /*keepdim=*/true).clamp_min(smallest_norm);
}

std::shared_ptr<Head> make_head(const ModelConfig& config, const EncoderImpl& encoder) {
  switch (config.task) {
    case TaskType::classification:
    case TaskType::multi_label:
    case TaskType::regression:
      return std::make_shared<SequenceHead>(config);
    case TaskType::token_classification:
    case TaskType::question_answering:
      return std::make_shared<TokenHead>(config);
    case TaskType::masked_lm:
      return std::make_shared<MaskedLmHead>(config, encoder.embeddings->word_embeddings);
    case TaskType::embedding:
      return std::make_shared<EmbeddingHead>(config);
  }
  throw std::logic_error("task");
}

}  // namespace compression
