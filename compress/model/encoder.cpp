#include "compress/model/encoder.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/base/error.h"        // UnsupportedError
#include "compress/model/block_math.h"  // BlockMath
#include "compress/model/fused.h"       // fused_forward
#include "compress/model/recompute.h"   // recomputed

namespace compression {
namespace {

/// A module that only gives its children a name below it.
std::shared_ptr<torch::nn::Module> scope(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>(name));
}

/// Registers a module under a path of names: "attention.self.query".
template <class Module>
Module registered(torch::nn::Module& parent, const std::string& path, const Module& module) {
  const auto dot = path.find('.');
  if (dot == std::string::npos) return parent.register_module(path, module);
  const auto first = path.substr(0, dot);
  const auto children = parent.named_children();
  const auto* there = children.find(first);
  return registered(there ? **there : *scope(parent, first), path.substr(dot + 1), module);
}

template <class Module>
Module of_role(const std::vector<std::pair<Role, Module>>& modules, Role role) {
  for (const auto& [own, module] : modules) {
    if (own == role) return module;
  }
  return nullptr;
}

/// In the dtype of scores, in which float32's lowest number, the mask, may be infinite: a row without any key would
/// then be NaN.
torch::Tensor to_scores(const torch::Tensor& bias, torch::Dtype dtype) {
  if (dtype == torch::kHalf) return bias.clamp_min(std::numeric_limits<c10::Half>::lowest()).to(dtype);
  if (dtype == torch::kBFloat16) return bias.clamp_min(std::numeric_limits<c10::BFloat16>::lowest()).to(dtype);
  return bias.to(dtype);
}

}  // namespace

EmbeddingsImpl::EmbeddingsImpl(const ModelConfig& config, const Embedding& words)
    : word_embeddings(words),
      dropout(config.hidden_dropout_prob),
      spec(config.input),
      max_length(config.max_length()),
      padding_position(config.input.positions_after_padding ? config.pad_token_id : -1) {
  const auto width = config.embedding_size();
  if (!words) {
    word_embeddings = register_module("word_embeddings", Embedding(config.vocab_size, width, config.pad_token_id));
  }
  if (config.input.positions) {
    position_embeddings =
        register_module("position_embeddings", Embedding(config.max_position_embeddings, width, padding_position));
  }
  if (config.type_vocab_size > 0) {
    token_type_embeddings = register_module("token_type_embeddings", Embedding(config.type_vocab_size, width));
  }
  if (config.input.norm) norm = register_module("LayerNorm", LayerNorm(width, config.norm));
  if (config.input.projection) {
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

namespace {

/// Layers with tensors.
class LayerOps {
 public:
  using Value = torch::Tensor;

  explicit LayerOps(bool training) : training_(training) {}

  Value linear(const Linear& layer, const Value& x) const { return Linear(layer)->forward(x); }
  Value norm(const LayerNorm& layer, const Value& x) const { return LayerNorm(layer)->forward(x); }
  Value dropout(const Value& x, double probability) const { return torch::dropout(x, probability, training_); }

 protected:
  bool training_;
};

/// embedded() with tensors.
class InputOps : public LayerOps {
 public:
  InputOps(bool training, const Value& ids, const Value& types, const Value& mask, const Value& places)
      : LayerOps(training), ids_(ids), types_(types), mask_(mask), places_(places) {}

  const Value& ids() const { return ids_; }
  Value token_types() const { return types_.defined() ? types_ : torch::zeros_like(ids_); }
  Value places() const { return places_.defined() ? places_ : torch::arange(ids_.size(1), ids_.options()); }
  Value rows(const Embedding& table, const Value& ids) const { return Embedding(table)->forward(ids); }
  Value as_integers(const Value& x) const { return x.to(torch::kLong); }
  Value without_masked(const Value& x) const {
    return masks_first(mask_) ? x * mask_.to(x.scalar_type()).unsqueeze(-1) : x;
  }

 private:
  const Value &ids_, &types_, &mask_, &places_;
};

}  // namespace

torch::Tensor EmbeddingsImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& token_type_ids,
                                      const torch::Tensor& attention_mask, const torch::Tensor& places) {
  check_length(input_ids.size(1));
  InputOps ops(is_training(), input_ids, token_type_ids, attention_mask, places);
  return embedded(ops, *this);
}

EncoderLayerImpl::EncoderLayerImpl(const ModelConfig& config, const BlockSpec& block)
    : spec(block),
      relative(config.relative),
      hidden_dropout(config.hidden_dropout_prob),
      attention_dropout(config.attention_probs_dropout_prob) {
  for (const auto& module : modules_of(block_weights(config, spec))) {
    if (module.norm) {
      norms_.emplace_back(module.role, registered(*this, module.name, layer_norm(module)));
    } else {
      linears_.emplace_back(module.role, registered(*this, module.name, linear_layer(module)));
    }
  }
}

Linear EncoderLayerImpl::linear(Role role) const {
  return of_role(linears_, role);
}

LayerNorm EncoderLayerImpl::norm(Role role) const {
  return of_role(norms_, role);
}

std::vector<Linear> EncoderLayerImpl::linears() const {
  std::vector<Linear> all;
  for (const auto& [role, linear] : linears_) all.push_back(linear);
  return all;
}

void EncoderLayerImpl::keep_units(UnitKind kind, const std::vector<int64_t>& kept) {
  auto& attention = spec.attention;
  const auto count = static_cast<int64_t>(kept.size());
  if (kind == UnitKind::heads && has_columns(attention.positions) && count < attention.heads) {
    auto columns = kept;
    for (auto& column : columns) {
      if (!attention.position_heads.empty()) column = attention.position_heads.at(static_cast<size_t>(column));
    }
    attention.position_heads = std::move(columns);
  }
  units_of(spec, kind) = count;
}

namespace {

/// BlockMath with tensors.
class TensorOps : public LayerOps {
 public:
  TensorOps(const AttentionContext& context, bool training, const Capture& capture, EncoderOutput& out)
      : LayerOps(training), context_(context), capture_(capture), out_(out) {}

  Distances<Value> distances(Positions positions) const {
    auto table = context_.relative;
    if (!table) return {};
    const auto& [first, count, pairs] = context_.pairs;
    const auto part = table->part(first, count);
    if (positions == Positions::disentangled) return {.rows = pairs, .part = part};
    return {.bias = part.index_select(0, pairs.flatten()).t().reshape({1, -1, pairs.size(0), pairs.size(1)})};
  }

  Value bias_alone(const Linear& layer, const Value& x) const { return linear(layer, x.slice(-1, 0, 0)); }
  Value activated(const Value& x, Activation activation) const { return activate(x, activation); }
  Value joined(const std::vector<Value>& parts) const { return torch::cat(parts, -1); }
  Value constant(const EncoderLayerImpl&, const char*, const torch::Tensor& value) const {
    return value.to(context_.device);
  }
  const Value& memory() const { return context_.memory.states; }
  const Value& memory_mask() const { return context_.memory.mask; }

  /// Between query and key: float32 [query, key].
  Value distance() const {
    const auto places = context_.places().to(torch::kFloat);
    return (places.slice(0, context_.past).unsqueeze(1) - places.unsqueeze(0)).abs();
  }

  /// Cosines and sines of rotary positions, [sequence, size].
  std::pair<Value, Value> angles(double base, int64_t size) const {
    const auto all = rotary_angles(base, context_.past + context_.length, size, context_.device);
    const auto twice = [&](const Value& half) { return torch::cat({half, half}, -1).slice(0, context_.past); };
    return {twice(all.cosine), twice(all.sine)};
  }

  /// Keys and values become those of the cached tokens too.
  void remember(Value& k, Value& v) const {
    if (context_.cache == nullptr) return;
    auto& [keys, values] = *context_.cache;
    k = keys = keys.defined() ? torch::cat({keys, k}, -2) : k;
    v = values = values.defined() ? torch::cat({values, v}, -2) : v;
  }

  /// The bias, which may be empty, with the mask of padding and of what is too far away or behind the query.
  Value masked(const Value& bias, const AttentionSpec& attention) const {
    const auto mask = context_.mask_of(attention);
    if (!mask.defined()) return bias;
    return bias.defined() ? bias + mask : mask;
  }

  Value attention(const Value& q, const Value& k, const Value& v, const Value& bias, const Scores& of) const {
    if (!capture_.attentions && of.cap == 0.0) {
      const auto added = bias.defined() ? std::optional(to_scores(bias, q.scalar_type())) : std::nullopt;
      return torch::scaled_dot_product_attention(q, k, v, added, training_ ? of.dropout : 0.0,
                                                 /*is_causal=*/false, of.scale);
    }
    auto scores = torch::matmul(q, k.transpose(-1, -2)) * of.scale;
    if (of.cap != 0.0) scores = torch::tanh(scores / of.cap) * of.cap;
    if (bias.defined()) scores = scores + bias;
    const auto probabilities = torch::softmax(scores, -1, torch::kFloat);
    if (capture_.attentions) out_.attentions.push_back(probabilities);
    return torch::matmul(dropout(probabilities, of.dropout).to(v.scalar_type()), v);
  }

  void see_projections(const Value& q, const Value& k, const Value& v) const {
    if (capture_.projections) out_.projections.push_back({q, k, v});
  }
  Value pruned_heads(const Value& x, const EncoderLayerImpl& layer) const {
    return layer.head_mask.defined() ? x * layer.head_mask.view({-1, layer.heads(), 1, 1}) : x;
  }
  Value pruned_units(const Value& x, const EncoderLayerImpl& layer) const {
    return layer.intermediate_mask.defined() ? x * layer.intermediate_mask.unsqueeze(-2) : x;
  }

 private:
  const AttentionContext& context_;
  const Capture& capture_;
  EncoderOutput& out_;
};

/// What `capture` asks for of a layer without heads.
void capture_none(const torch::Tensor& x, const Capture& capture, EncoderOutput& out) {
  const auto none = [&](int64_t last) { return torch::zeros({x.size(0), x.size(1), last}, x.options()); };
  if (capture.projections) out.projections.push_back({none(0), none(0), none(0)});
  if (capture.attentions) out.attentions.push_back(none(x.size(1)).unsqueeze(1).slice(1, 0, 0));
}

}  // namespace

torch::Tensor AttentionContext::places() const {
  return torch::arange(past + length, torch::TensorOptions(device).dtype(torch::kLong));
}

torch::Tensor AttentionContext::mask_of(const AttentionSpec& attention) const {
  if (!attention.causal && attention.window == 0) return mask;
  const auto place = places();
  const auto before = place.slice(0, past).unsqueeze(1) - place.unsqueeze(0);  // how far the key is before the query
  auto far = attention.causal ? before.lt(0) : torch::zeros_like(before, torch::kBool);
  if (attention.window > 0) far = far | before.abs().gt(attention.window);
  const auto own = torch::zeros({1, 1, length, past + length}, torch::TensorOptions(device).dtype(torch::kFloat))
                       .masked_fill(far, std::numeric_limits<float>::lowest());
  return mask.defined() ? torch::minimum(mask, own) : own;
}

torch::Tensor EncoderLayerImpl::attended(const torch::Tensor& x, const AttentionContext& context) const {
  EncoderOutput none;
  TensorOps ops(context, is_training(), {}, none);
  if (heads() == 0) return x.slice(-1, 0, 0);
  return BlockMath(ops, *this).attended(x, ops.distances(spec.attention.positions));
}

torch::Tensor EncoderLayerImpl::units(const torch::Tensor& x) const {
  EncoderOutput none;
  TensorOps ops({}, is_training(), {}, none);
  return BlockMath(ops, *this).units(x);
}

torch::Tensor EncoderLayerImpl::forward(const torch::Tensor& x, const AttentionContext& context, const Capture& capture,
                                        EncoderOutput& out) const {
  if (heads() == 0) capture_none(x, capture, out);
  TensorOps ops(context, is_training(), capture, out);
  return BlockMath(ops, *this).block(x, ops.distances(spec.attention.positions));
}

EncoderImpl::EncoderImpl(const ModelConfig& config, const Embedding& words) {
  embeddings = register_module("embeddings", Embeddings(config, words));
  const auto encoder = scope(*this, "encoder");
  if (config.relative.rows > 0) {
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
  if (config.final_norm) final_norm = encoder->register_module("LayerNorm", LayerNorm(config.hidden_size, config.norm));
}

AttentionContext EncoderImpl::attention_context(const torch::Tensor& input_ids, const torch::Tensor& attention_mask) {
  AttentionContext context{.pairs = {}, .length = input_ids.size(1), .device = input_ids.device()};
  if (relative) {
    context.relative = relative;
    context.pairs = relative->pairs(input_ids.size(1));
  }
  if (attention_mask.defined() && !attention_mask.all().item<bool>()) {
    auto present = attention_mask.to(torch::kFloat).unsqueeze(1).unsqueeze(2);
    if (embeddings->spec.masks_queries && masks_first(attention_mask)) present = present * present.transpose(-1, -2);
    context.mask = (1.0 - present).mul(std::numeric_limits<float>::lowest());
  }
  return context;
}

EncoderOutput EncoderImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                                   const torch::Tensor& token_type_ids, const Capture& capture, const Memory& memory) {
  if (fused && can_fuse(*this, input_ids, attention_mask, capture)) {
    return fused_forward(*this, input_ids, attention_mask, token_type_ids, capture, *fused);
  }
  EncoderOutput out;
  auto x = embeddings->forward(input_ids, token_type_ids, attention_mask);
  auto context = attention_context(input_ids, attention_mask);
  context.memory = memory;
  if (capture.hidden_states) out.hidden_states.push_back(x);
  for (size_t i = 0; i < layers.size(); ++i) {
    auto layer = layers[i];
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
    if (final_norm && i + 1 == layers.size()) x = final_norm->forward(x);
    if (capture.hidden_states) out.hidden_states.push_back(x);
  }
  out.last_hidden_state = x;
  out.first = x.select(1, 0);
  return out;
}

torch::Tensor EncoderImpl::forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                                   KeyValueCache& cache) {
  const auto count = input_ids.size(1), past = cache.length;
  embeddings->check_length(past + count);
  auto context = attention_context(input_ids, attention_mask);
  context.past = past;
  const auto places = attention_mask.defined() ? (attention_mask.cumsum(1) - 1).clamp_min(0).slice(1, past)
                                               : context.places().slice(0, past);
  const auto new_mask = attention_mask.defined() ? attention_mask.slice(1, past) : attention_mask;
  auto x = embeddings->forward(input_ids, {}, new_mask, places);
  cache.blocks.resize(layers.size());
  EncoderOutput none;
  for (size_t i = 0; i < layers.size(); ++i) {
    context.cache = &cache.blocks[i];
    x = layers[i]->forward(x, context, {}, none);
  }
  cache.length += count;
  return final_norm ? final_norm->forward(x) : x;
}

}  // namespace compression
