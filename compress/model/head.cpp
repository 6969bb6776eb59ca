#include "compress/model/head.h"

#include <torch/types.h>

namespace compression {

Head::Head(const ModelConfig& config)
    : dropout(config.classifier_dropout.value_or(config.hidden_dropout_prob)),
      initializer_range_(config.initializer_range) {
  classifier = register_module("classifier", Linear(config.hidden_size, static_cast<int64_t>(config.labels.size())));
}

void Head::initialize_classifier() {
  const at::NoGradGuard no_grad;
  classifier->weight.normal_(0.0, initializer_range_);
  classifier->bias.zero_();
}

SequenceHead::SequenceHead(const ModelConfig& config)
    : Head(config), activation(config.head.activation), first_dropout_(config.head.first_dropout) {
  dense = register_module("dense", Linear(config.hidden_size, config.hidden_size));
}

torch::Tensor SequenceHead::forward(const EncoderOutput& encoded) {
  const auto first = torch::dropout(encoded.first, first_dropout_.value_or(dropout), is_training());
  const auto pooled = activate(dense->forward(first), activation);
  return classifier->forward(torch::dropout(pooled, dropout, is_training())).to(torch::kFloat);
}

std::shared_ptr<Head> make_head(const ModelConfig& config) {
  return std::make_shared<SequenceHead>(config);
}

}  // namespace compression
