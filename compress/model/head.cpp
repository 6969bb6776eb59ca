#include "compress/model/head.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <limits>
#include <stdexcept>

#include "compress/base/error.h"  // CheckpointError, UnsupportedError

namespace compression {

Head::Head(const ModelConfig& config)
    : dropout(config.classifier_dropout.value_or(config.hidden_dropout_prob)), config_dropout_(dropout) {}

void Head::make_classifier(int64_t in, int64_t labels) {
  classifier = register_module("classifier", Linear(in, labels));
}

SequenceHead::SequenceHead(const ModelConfig& config)
    : Head(config),
      activation(config.head.activation),
      first_dropout(config.head.first_dropout),
      mean(config.head.mean),
      config_first_dropout_(config.head.first_dropout) {
  make_classifier(config.hidden_size, static_cast<int64_t>(config.labels.size()));
  dense = register_module("dense", Linear(config.hidden_size, config.hidden_size, config.head.dense_bias));
  if (config.head.norm) norm = register_module("LayerNorm", LayerNorm(config.hidden_size, config.norm));
}

void SequenceHead::set_dropout(std::optional<double> value) {
  Head::set_dropout(value);
  first_dropout = value ? value : config_first_dropout_;
}

torch::Tensor SequenceHead::read(const torch::Tensor& states, const Batch& batch) const {
  if (!mean) return states.select(1, 0);
  const auto& given = batch.attention_mask();
  const auto real = (given.defined() ? given : torch::ones_like(batch.input_ids())).to(states.scalar_type());
  return (states * real.unsqueeze(-1)).sum(1) / real.sum(1, /*keepdim=*/true);
}

torch::Tensor SequenceHead::pooled(const torch::Tensor& text) {
  const auto y = activate(dense->forward(text), activation);
  return norm ? norm->forward(y) : y;
}

torch::Tensor SequenceHead::forward(const EncoderOutput& encoded, const Batch& batch) {
  const auto text = mean ? read(encoded.last_hidden_state, batch) : encoded.first;
  const auto y = pooled(torch::dropout(text, first_dropout.value_or(dropout), is_training()));
  return classifier->forward(torch::dropout(y, dropout, is_training())).to(torch::kFloat);
}

TokenHead::TokenHead(const ModelConfig& config)
    : Head(config), activation(config.head.activation), spans_(traits_of(config.task).head == HeadKind::spans) {
  if (spans_) dropout = 0.0;
  make_classifier(config.hidden_size, spans_ ? 2 : static_cast<int64_t>(config.labels.size()));
  if (!config.head.norm) return;
  dense = register_module("dense", Linear(config.hidden_size, config.hidden_size, config.head.dense_bias));
  norm = register_module("LayerNorm", LayerNorm(config.hidden_size, config.norm));
}

std::vector<Linear> TokenHead::linears() {
  if (!dense) return {};
  return {dense};
}

void TokenHead::set_dropout(std::optional<double> value) {
  if (!spans_) Head::set_dropout(value);
}

torch::Tensor TokenHead::forward(const EncoderOutput& encoded, const Batch&) {
  auto states = encoded.last_hidden_state;
  if (dense) states = norm->forward(activate(dense->forward(states), activation));
  return classifier->forward(torch::dropout(states, dropout, is_training())).to(torch::kFloat);
}

MaskedLmHead::MaskedLmHead(const ModelConfig& config, Embedding words)
    : Head(config), activation(config.head.mlm_activation.value_or(config.hidden_act())), words_(std::move(words)) {
  dense = register_module("dense", Linear(config.hidden_size, config.embedding_size(), config.head.dense_bias));
  norm = register_module("LayerNorm", LayerNorm(config.embedding_size(), config.norm));
  bias = register_parameter("bias", torch::empty({config.vocab_size}, torch::kFloat));
  words_->read_elsewhere = true;
}

namespace {

/// The labelled tokens' rows, or of a batch without labels all.
torch::Tensor asked_for(const torch::Tensor& rows, const Batch& batch) {
  return batch.labels().defined() ? rows.flatten(0, 1).index_select(0, labelled_tokens(batch.labels())) : rows;
}

}  // namespace

torch::Tensor MaskedLmHead::forward(const EncoderOutput& encoded, const Batch& batch) {
  return of_hidden(activate(dense->forward(asked_for(encoded.last_hidden_state, batch)), activation));
}

torch::Tensor MaskedLmHead::words(const torch::Tensor& hidden, const Batch& batch) {
  return of_hidden(asked_for(hidden, batch));
}

torch::Tensor MaskedLmHead::of_hidden(const torch::Tensor& hidden) {
  return torch::linear(norm->forward(hidden), words_->full_weight(), bias).to(torch::kFloat);
}

namespace {

/// states: float32 [batch, sequence, hidden]; mask: float32 [batch, sequence]. [batch, hidden]
torch::Tensor pooled(Pooling pooling, const torch::Tensor& states, const torch::Tensor& mask) {
  const auto real = mask.unsqueeze(-1);
  const auto mean_by = [&](const torch::Tensor& weights) {
    return (states * weights).sum(1) / weights.sum(1).clamp_min(EmbeddingHead::smallest_weight);
  };
  const auto token = [&](const torch::Tensor& position) {
    const auto index = position.view({-1, 1, 1}).expand({-1, 1, states.size(2)});
    return states.gather(1, index).squeeze(1);
  };
  const auto places = torch::arange(1, mask.size(1) + 1, mask.options());
  switch (pooling) {
    case Pooling::cls:
      return token(mask.argmax(1));
    case Pooling::max:
      return states.masked_fill(real.eq(0), std::numeric_limits<float>::lowest()).amax(1);
    case Pooling::mean:
      return mean_by(real);
    case Pooling::mean_sqrt_len_tokens:
      return (states * real).sum(1) / real.sum(1).clamp_min(EmbeddingHead::smallest_weight).sqrt();
    case Pooling::weightedmean: {  // places count from the first token
      const auto before = mask.argmax(1, /*keepdim=*/true).to(torch::kFloat);
      return mean_by(((places - before) * mask).unsqueeze(-1));
    }
    case Pooling::lasttoken:
      return token((places * mask).argmax(1));
  }
  throw std::logic_error("pooling");
}

}  // namespace

EmbeddingHead::EmbeddingHead(const ModelConfig& config) : Head(config), options(config.embedding) {
  if (!options.unsupported.empty()) throw UnsupportedError(options.unsupported);
  if (options.pooling.empty()) throw std::invalid_argument("an embedding without a pooling");
  int64_t width = config.pooled_width();
  for (const auto& step : options.steps) {
    dense.emplace_back(nullptr);
    if (!step.dense) continue;
    if (step.in != width) {
      throw CheckpointError(
          fmt::format("a dense module of {} features, expected {}: those of the vector before it", step.in, width));
    }
    dense.back() = register_module(fmt::format("dense_{}", dense.size() - 1), Linear(step.in, step.out));
    if (!step.bias) dense.back()->drop_bias();
    width = step.out;
  }
}

Capture EmbeddingHead::needs() const {
  return {.last_hidden_state = options.pooling != std::vector<Pooling>{Pooling::cls}};
}

torch::Tensor EmbeddingHead::forward(const EncoderOutput& encoded, const Batch& batch) {
  std::vector<torch::Tensor> parts;
  if (!encoded.last_hidden_state.defined()) {
    parts.push_back(encoded.first.to(torch::kFloat));
  } else {
    const auto states = encoded.last_hidden_state.to(torch::kFloat);
    const auto& given = batch.attention_mask();
    const auto mask = (given.defined() ? given : torch::ones_like(batch.input_ids())).to(torch::kFloat);
    for (const auto pooling : options.pooling) parts.push_back(pooled(pooling, states, mask));
  }
  auto x = parts.size() == 1 ? parts.front() : torch::cat(parts, -1);
  for (size_t i = 0; i < options.steps.size(); ++i) {
    x = dense[i] ? activate(dense[i]->forward(x), options.steps[i].activation)
                 : x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(smallest_norm);
  }
  return x.to(torch::kFloat);
}

std::shared_ptr<Head> make_head(const ModelConfig& config, const EncoderImpl& encoder) {
  switch (traits_of(config.task).head) {
    case HeadKind::text:
      return std::make_shared<SequenceHead>(config);
    case HeadKind::tokens:
    case HeadKind::spans:
      return std::make_shared<TokenHead>(config);
    case HeadKind::words:
      return std::make_shared<MaskedLmHead>(config, encoder.embeddings->word_embeddings);
    case HeadKind::embedding:
      return std::make_shared<EmbeddingHead>(config);
  }
  throw std::logic_error("head");
}

}  // namespace compression
