#include "compress/model/encoder.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/base/error.h"       // UnsupportedError
#include "compress/model/fused.h"      // fused_forward
#include "compress/model/recompute.h"  // recomputed

namespace compression {
namespace {

/// A module that only gives its children a name below it.
std::shared_ptr<torch::nn::Module> scope(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>(name));
}

/// In the dtype of scores, in which float32's lowest number, the mask, may be infinite: a row without any key would
/// then be NaN.
torch::Tensor to_scores(const torch::Tensor& bias, torch::Dtype dtype) {
  if (dtype == torch::kHalf) return bias.clamp_min(std::numeric_limits<c10::Half>::lowest()).to(dtype);
  if (dtype == torch::kBFloat16) return bias.clamp_min(std::numeric_limits<c10::BFloat16>::lowest()).to(dtype);
  return bias.to(dtype);
}

}  // namespace

EmbeddingsImpl::EmbeddingsImpl(const ModelConfig& config)
    : dropout(config.hidden_dropout_prob),
      max_length(config.max_length()),
      padding_position(config.encoder.positions_after_padding ? config.pad_token_id : -1),
      masks_queries(config.encoder.masks_queries) {
  const auto width = config.embedding_size();
  word_embeddings = register_module("word_embeddings", Embedding(config.vocab_size, width, config.pad_token_id));
  if (config.encoder.position_embeddings) {
    position_embeddings =
        register_module("position_embeddings", Embedding(config.max_position_embeddings, width, padding_position));
  }
  if (config.type_vocab_size > 0) {
    token_type_embeddings = register_module("token_type_embeddings", Embedding(config.type_vocab_size, width));
  }
  norm = register_module("LayerNorm", LayerNorm(width, config.layer_norm_eps));
  if (config.encoder.embedding_projection) {
    projection = register_module("projection", Linear(width, config.hidden_size));
  }
}

void EmbeddingsImpl::check_length(int64_t length) const {
  if (length > max_length) {
    throw UnsupportedError(fmt::format(
        "a text of {} tokens: this model has positions for {}; choose a smaller max_length", length, max_length));
  }
}

std::vector<Embedding> EmbeddingsImpl::tables() const {
  std::vector<Embedding> tables{word_embeddings};
  if (position_embeddings) tables.push_back(position_embeddings);
  if (token_type_embeddings) tables.push_back(token_type_embeddings);
  return tables;
}

bool masks_first(const torch::Tensor& attention_mask) {
  return attention_mask.defined() && !attention_mask.select(1, 0).all().item<bool>();
}

torch::Tensor EmbeddingsImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& token_type_ids,
                                      const torch::Tensor& attention_mask) {
  const auto length = input_ids.size(1);
  check_length(length);
  auto x = word_embeddings->forward(input_ids);
  if (token_type_embeddings) {
    x = x + token_type_embeddings->forward(token_type_ids.defined() ? token_type_ids : torch::zeros_like(input_ids));
  }
  if (position_embeddings) {
    auto positions = torch::arange(length, input_ids.options());
    if (padding_position >= 0) {
      const auto real = input_ids.ne(padding_position).to(torch::kLong);
      positions = real.cumsum(1) * real + padding_position;
    }
    x = x + position_embeddings->forward(positions);
  }
  x = norm->forward(x);
  if (masks_queries && masks_first(attention_mask)) x = x * attention_mask.to(x.scalar_type()).unsqueeze(-1);
  x = torch::dropout(x, dropout, is_training());
  return projection ? projection->forward(x) : x;
}

EncoderLayerImpl::EncoderLayerImpl(const ModelConfig& config, const LayerShape& shape)
    : heads(shape.num_attention_heads),
      head_size(config.attention_head_size),
      position_heads(shape.position_heads),
      options(config.encoder),
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
  if (options.own_position_projections) {
    const auto projection = [&](bool wanted, const char* name) {
      return wanted ? self->register_module(name, Linear(hidden, width)) : Linear(nullptr);
    };
    position_key = projection(options.content_to_position, "position_key");
    position_query = projection(options.position_to_content, "position_query");
  }
  const auto attention_end = scope(*attention, "output");
  attention_output = attention_end->register_module("dense", Linear(width, hidden));
  attention_norm = attention_end->register_module("LayerNorm", LayerNorm(hidden, config.layer_norm_eps));
  intermediate = scope(*this, "intermediate")->register_module("dense", Linear(hidden, shape.intermediate_size));
  const auto end = scope(*this, "output");
  output = end->register_module("dense", Linear(shape.intermediate_size, hidden));
  output_norm = end->register_module("LayerNorm", LayerNorm(hidden, config.layer_norm_eps));
}

std::vector<Linear> EncoderLayerImpl::linears() const {
  std::vector<Linear> all{query, key, value, attention_output, intermediate, output};
  for (const auto& linear : {position_key, position_query}) {
    if (linear) all.push_back(linear);
  }
  return all;
}

void EncoderLayerImpl::keep_heads(const std::vector<int64_t>& kept) {
  if (options.relative == RelativeAttention::bias && static_cast<int64_t>(kept.size()) < heads) {
    auto columns = kept;
    for (auto& column : columns) {
      if (!position_heads.empty()) column = position_heads.at(static_cast<size_t>(column));
    }
    position_heads = std::move(columns);
  }
  heads = static_cast<int64_t>(kept.size());
}

double EncoderLayerImpl::score_scale() const {
  const int terms = 1 + (options.content_to_position ? 1 : 0) + (options.position_to_content ? 1 : 0);
  return 1.0 / std::sqrt(static_cast<double>(head_size * terms));
}

/// [..., sequence, heads * head_size] -> [..., heads, sequence, head_size]
torch::Tensor EncoderLayerImpl::split_heads(const torch::Tensor& x) const {
  return x.unflatten(-1, {heads, head_size}).transpose(-3, -2);
}

/// What positions add to the scores: [1 or batch, heads, query, key], or undefined.
torch::Tensor EncoderLayerImpl::relative_scores(const torch::Tensor& q, const torch::Tensor& k,
                                                const AttentionContext& context) {
  auto table = context.relative;
  if (!table) return {};
  const auto& [first, count, pairs] = context.pairs;
  const auto part = table->part(first, count);
  if (options.relative == RelativeAttention::bias) {
    const auto own =
        position_heads.empty() ? part : part.index_select(1, torch::tensor(position_heads, pairs.options()));
    return own.index_select(0, pairs.flatten()).t().reshape({1, heads, pairs.size(0), pairs.size(1)});
  }
  const auto rows = torch::dropout(part, hidden_dropout, is_training());
  torch::Tensor scores;
  const auto add = [&](const torch::Tensor& more) { scores = scores.defined() ? scores + more : more; };
  // content [batch, heads, token, head_size] by rows [heads, row, head_size], then each pair's row.
  const auto by_pair = [&](const torch::Tensor& content, Linear& projection, const torch::Tensor& row) {
    const auto all = torch::matmul(content, split_heads(projection->forward(rows)).transpose(-1, -2));
    return all.gather(-1, row.expand({all.size(0), heads, row.size(0), row.size(1)})) * score_scale();
  };
  if (options.content_to_position) add(by_pair(q, position_key ? position_key : key, pairs));
  if (options.position_to_content) {
    add(by_pair(k, position_query ? position_query : query, pairs.t()).transpose(-1, -2));
  }
  return scores;
}

torch::Tensor EncoderLayerImpl::attended(const torch::Tensor& x, const AttentionContext& context,
                                         const Capture& capture, EncoderOutput& out) {
  if (heads == 0) {
    const auto none = [&](int64_t last) { return torch::zeros({x.size(0), x.size(1), last}, x.options()); };
    if (capture.projections) out.projections.push_back({none(0), none(0), none(0)});
    if (capture.attentions) out.attentions.push_back(none(x.size(1)).unsqueeze(1).slice(1, 0, 0));
    return none(0);
  }
  Projections projected{query->forward(x), key->forward(x), value->forward(x)};
  const auto q = split_heads(projected.query), k = split_heads(projected.key), v = split_heads(projected.value);
  if (capture.projections) out.projections.push_back(std::move(projected));
  auto bias = relative_scores(q, k, context);
  if (context.mask.defined()) bias = bias.defined() ? bias + context.mask : context.mask;
  const double dropout = is_training() ? attention_dropout : 0.0;
  torch::Tensor result;
  if (!capture.attentions) {
    const auto added = bias.defined() ? std::optional(to_scores(bias, q.scalar_type())) : std::nullopt;
    result = torch::scaled_dot_product_attention(q, k, v, added, dropout, /*is_causal=*/false, score_scale());
  } else {
    auto scores = torch::matmul(q, k.transpose(-1, -2)) * score_scale();
    if (bias.defined()) scores = scores + bias;
    const auto probabilities = torch::softmax(scores, -1, torch::kFloat);
    out.attentions.push_back(probabilities);
    result = torch::matmul(torch::dropout(probabilities, dropout, is_training()).to(v.scalar_type()), v);
  }
  if (head_mask.defined()) result = result * head_mask.view({-1, heads, 1, 1});
  return result.transpose(1, 2).reshape({x.size(0), x.size(1), heads * head_size});
}

torch::Tensor EncoderLayerImpl::units(const torch::Tensor& x) {
  const auto all = activate(intermediate->forward(x), activation);
  return intermediate_mask.defined() ? all * intermediate_mask.unsqueeze(-2) : all;
}

torch::Tensor EncoderLayerImpl::forward(const torch::Tensor& x, const AttentionContext& context, const Capture& capture,
                                        EncoderOutput& out) {
  const auto drop = [&](const torch::Tensor& t) { return torch::dropout(t, hidden_dropout, is_training()); };
  const auto middle = attention_norm->forward(drop(attention_output->forward(attended(x, context, capture, out))) + x);
  return output_norm->forward(drop(output->forward(units(middle))) + middle);
}

EncoderImpl::EncoderImpl(const ModelConfig& config) {
  embeddings = register_module("embeddings", Embeddings(config));
  const auto encoder = scope(*this, "encoder");
  if (config.encoder.relative != RelativeAttention::none) {
    relative = encoder->register_module("relative", RelativeTable(config));
  }
  const auto stack = scope(*encoder, "layer");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const auto first = config.first_use(i);
    if (first < i) {
      layers.push_back(layers[first]);
    } else {
      const auto name = std::to_string(stack->children().size());
      layers.push_back(stack->register_module(name, EncoderLayer(config, config.layers[i])));
    }
  }
}

AttentionContext EncoderImpl::attention_context(const torch::Tensor& input_ids, const torch::Tensor& attention_mask) {
  AttentionContext context;
  if (relative) {
    context.relative = relative;
    context.pairs = relative->pairs(input_ids.size(1));
  }
  if (attention_mask.defined() && !attention_mask.all().item<bool>()) {
    auto present = attention_mask.to(torch::kFloat).unsqueeze(1).unsqueeze(2);
    if (embeddings->masks_queries && masks_first(attention_mask)) present = present * present.transpose(-1, -2);
    context.mask = (1.0 - present).mul(std::numeric_limits<float>::lowest());
  }
  return context;
}

EncoderOutput EncoderImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                                   const torch::Tensor& token_type_ids, const Capture& capture) {
  if (fused && can_fuse(*this, input_ids, attention_mask, capture)) {
    return fused_forward(*this, input_ids, attention_mask, token_type_ids, capture, *fused);
  }
  EncoderOutput out;
  auto x = embeddings->forward(input_ids, token_type_ids, attention_mask);
  const auto context = attention_context(input_ids, attention_mask);
  if (capture.hidden_states) out.hidden_states.push_back(x);
  for (auto& layer : layers) {
    if (recompute && !capture.attentions && !capture.projections) {
      x = recomputed(
          [layer, context](const torch::Tensor& in) mutable {
            EncoderOutput none;
            return layer->forward(in, context, {}, none);
          },
          x);
    } else {
      x = layer->forward(x, context, capture, out);
    }
    if (capture.hidden_states) out.hidden_states.push_back(x);
  }
  out.last_hidden_state = x;
  out.first = x.select(1, 0);
  return out;
}

}  // namespace compression
