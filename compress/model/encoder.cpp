#include "compress/model/encoder.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/model/fused.h"      // fused_forward
#include "compress/model/recompute.h"  // recomputed
#include "compress/workflow/error.h"   // UnsupportedError

namespace compression {
namespace {

torch::Tensor activate(const torch::Tensor& x, const std::string& name) {
  if (name == "relu") return torch::relu(x);
  return torch::gelu(x, name == "gelu" ? "none" : "tanh");
}

/// A module that only gives its children a name below it.
std::shared_ptr<torch::nn::Module> scope(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>(name));
}

}  // namespace

EmbeddingsImpl::EmbeddingsImpl(const ModelConfig& config) : dropout(config.hidden_dropout_prob) {
  word_embeddings =
      register_module("word_embeddings", Embedding(config.vocab_size, config.hidden_size, config.pad_token_id));
  position_embeddings =
      register_module("position_embeddings", Embedding(config.max_position_embeddings, config.hidden_size));
  token_type_embeddings =
      register_module("token_type_embeddings", Embedding(config.type_vocab_size, config.hidden_size));
  norm = register_module("LayerNorm", LayerNorm(config.hidden_size, config.layer_norm_eps));
}

void EmbeddingsImpl::check_length(int64_t length) const {
  if (length > position_embeddings->weight.size(0)) {
    throw UnsupportedError(
        fmt::format("a text of {} tokens: this model has positions for {}; choose a smaller max_length", length,
                    position_embeddings->weight.size(0)));
  }
}

torch::Tensor EmbeddingsImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& token_type_ids) {
  const auto length = input_ids.size(1);
  check_length(length);
  const auto positions = torch::arange(length, input_ids.options());
  const auto types = token_type_ids.defined() ? token_type_ids : torch::zeros_like(input_ids);
  auto x = word_embeddings->forward(input_ids) + token_type_embeddings->forward(types) +
           position_embeddings->forward(positions);
  return torch::dropout(norm->forward(x), dropout, is_training());
}

EncoderLayerImpl::EncoderLayerImpl(const ModelConfig& config, const LayerShape& shape)
    : heads(shape.num_attention_heads),
      head_size(config.attention_head_size),
      activation(config.hidden_act),
      hidden_dropout(config.hidden_dropout_prob),
      attention_dropout(config.attention_probs_dropout_prob) {
  const auto hidden = config.hidden_size;
  const auto width = heads * head_size;
  const auto attention = scope(*this, "attention");
  const auto self = scope(*attention, "self");
  query = self->register_module("query", Linear(hidden, width));
  key = self->register_module("key", Linear(hidden, width));
  value = self->register_module("value", Linear(hidden, width));
  const auto attention_end = scope(*attention, "output");
  attention_output = attention_end->register_module("dense", Linear(width, hidden));
  attention_norm = attention_end->register_module("LayerNorm", LayerNorm(hidden, config.layer_norm_eps));
  intermediate = scope(*this, "intermediate")->register_module("dense", Linear(hidden, shape.intermediate_size));
  const auto end = scope(*this, "output");
  output = end->register_module("dense", Linear(shape.intermediate_size, hidden));
  output_norm = end->register_module("LayerNorm", LayerNorm(hidden, config.layer_norm_eps));
}

torch::Tensor EncoderLayerImpl::attention(const torch::Tensor& x, const torch::Tensor& mask,
                                          std::vector<torch::Tensor>* attentions) {
  const auto split = [&](const torch::Tensor& t) {  // -> [batch, heads, sequence, head_size]
    return t.view({t.size(0), t.size(1), heads, head_size}).transpose(1, 2);
  };
  const auto q = split(query->forward(x)), k = split(key->forward(x)), v = split(value->forward(x));
  const auto bias = mask.defined() ? mask.to(q.scalar_type()) : mask;
  const double dropout = is_training() ? attention_dropout : 0.0;
  torch::Tensor context;
  if (attentions == nullptr) {
    context =
        torch::scaled_dot_product_attention(q, k, v, bias.defined() ? std::optional(bias) : std::nullopt, dropout);
  } else {
    auto scores = torch::matmul(q, k.transpose(-1, -2)) / std::sqrt(static_cast<double>(head_size));
    if (bias.defined()) scores = scores + bias;
    const auto probabilities = torch::softmax(scores, -1, torch::kFloat);
    attentions->push_back(probabilities);
    context = torch::matmul(torch::dropout(probabilities, dropout, is_training()).to(v.scalar_type()), v);
  }
  if (head_mask.defined()) context = context * head_mask.view({1, heads, 1, 1});
  return context.transpose(1, 2).reshape({x.size(0), x.size(1), heads * head_size});
}

torch::Tensor EncoderLayerImpl::forward(const torch::Tensor& x, const torch::Tensor& mask,
                                        std::vector<torch::Tensor>* attentions) {
  const auto drop = [&](const torch::Tensor& t) { return torch::dropout(t, hidden_dropout, is_training()); };
  const auto middle = attention_norm->forward(drop(attention_output->forward(attention(x, mask, attentions))) + x);
  auto units = activate(intermediate->forward(middle), activation);
  if (intermediate_mask.defined()) units = units * intermediate_mask;
  return output_norm->forward(drop(output->forward(units)) + middle);
}

EncoderImpl::EncoderImpl(const ModelConfig& config) {
  embeddings = register_module("embeddings", Embeddings(config));
  const auto stack = scope(*scope(*this, "encoder"), "layer");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    layers.push_back(stack->register_module(std::to_string(i), EncoderLayer(config, config.layers[i])));
  }
}

EncoderOutput EncoderImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                                   const torch::Tensor& token_type_ids, const Capture& capture) {
  if (fused && can_fuse(*this, input_ids, attention_mask, capture)) {
    return fused_forward(*this, input_ids, attention_mask, token_type_ids, capture, *fused);
  }
  EncoderOutput out;
  auto x = embeddings->forward(input_ids, token_type_ids);
  torch::Tensor mask;
  if (attention_mask.defined() && !attention_mask.all().item<bool>()) {
    mask = (1.0 - attention_mask.to(torch::kFloat)).mul(std::numeric_limits<float>::lowest()).unsqueeze(1).unsqueeze(2);
  }
  if (capture.hidden_states) out.hidden_states.push_back(x);
  for (auto& layer : layers) {
    if (recompute && !capture.attentions) {
      x = recomputed([layer, mask](const torch::Tensor& in) mutable { return layer->forward(in, mask, nullptr); }, x);
    } else {
      x = layer->forward(x, mask, capture.attentions ? &out.attentions : nullptr);
    }
    if (capture.hidden_states) out.hidden_states.push_back(x);
  }
  out.last_hidden_state = x;
  out.first = x.select(1, 0);
  return out;
}

}  // namespace compression
