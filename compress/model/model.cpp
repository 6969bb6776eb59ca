#include "compress/model/model.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/base/error.h"             // CheckpointError, UnsupportedError
#include "compress/base/fields.h"            // enum_name
#include "compress/checkpoint/checkpoint.h"  // state_dict
#include "compress/families/name_table.h"    // checkpoint_names

namespace compression {
namespace {

/// Gives a layer the storage that the config asks for, so that a checkpoint can be read into it.
void store_as(Linear& linear, WeightFormat format, ActivationScheme scheme) {
  if (format == WeightFormat::int8) {
    const auto& w = linear->weight;
    const auto ones = [](at::IntArrayRef sizes) { return torch::ones(sizes, torch::kFloat); };
    linear->store_int8(torch::zeros(w.sizes(), torch::kChar), ones({w.size(0), 1}), scheme, ones({1}));
  } else if (format != WeightFormat::float32) {
    linear->store_16bit(format);
  }
}

void store_as(Embedding& table, WeightFormat format) {
  if (format == WeightFormat::int8) {
    table->store_int8(torch::zeros(table->weight.sizes(), torch::kChar),
                      torch::ones({table->weight.size(0), 1}, torch::kFloat));
  } else if (format != WeightFormat::float32) {
    table->store_16bit(format);
  }
}

}  // namespace

ModelImpl::ModelImpl(ModelConfig config) : config_(std::move(config)) {
  const c10::InferenceMode ordinary(false);  // tensors that can be trained, and that tell when they change
  encoder = register_module("bert", Encoder(config_));
  head = register_module("head", make_head(config_, *encoder));
  auto unknown = config_.unquantized;
  for (auto& [name, linear] : named_linears()) {
    if (std::erase(unknown, name) == 0) store_as(linear, config_.linear_format, config_.activations);
  }
  if (!unknown.empty()) {
    throw CheckpointError(fmt::format(
        "quantization_config.ignore: found \"{}\", which is no linear layer of this model", unknown.front()));
  }
  for (auto& table : embeddings()) store_as(table, config_.embedding_format);
}

bool ModelImpl::computes_packed(const Batch& batch, const Capture& capture) {
  if (config_.linear_format == WeightFormat::float32 || products_ != Products::ours || is_training()) return false;
  if (capture.hidden_states || capture.attentions || capture.projections) return false;
  if (!batch.input_ids().is_cpu() || batch.input_ids().numel() == 0 || !can_pack(config_)) return false;
  // One scale for the whole input is not what the runtime has: it never sees all texts at once.
  if (config_.linear_format == WeightFormat::int8 && config_.activations == ActivationScheme::per_tensor) return false;
  const bool reads_first = head->as<SequenceHead>() != nullptr;
  if (config_.encoder.masks_queries && reads_first && masks_first(batch.attention_mask())) return false;
  for (const auto& layer : encoder->layers) {
    if (layer->head_mask.defined() || layer->intermediate_mask.defined()) return false;
  }
  for (const auto& linear : linears()) {
    if (linear->watch || !linear->weight.is_cpu()) return false;
  }
  return true;
}

ModelOutput ModelImpl::forward_packed(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto& ids = batch.input_ids();
  encoder->embeddings->check_length(ids.size(1));
  const auto runtime = packed_.of(*encoder, *head, config_);
  const auto mask = batch.attention_mask().defined() ? batch.attention_mask() : torch::ones_like(ids);
  const auto types = batch.token_type_ids().defined() ? batch.token_type_ids() : torch::zeros_like(ids);
  if (head->as<SequenceHead>() != nullptr) return {runtime->forward(ids, mask, types), {}, {}, {}};
  const auto states = runtime->last_hidden_state(ids, mask, types);
  if (auto* words = head->as<MaskedLmHead>()) return {words->words(states, batch), {}, {}, {}};
  EncoderOutput encoded;
  encoded.last_hidden_state = states;
  return {head->forward(encoded, batch), {}, {}, {}};
}

void ModelImpl::set_products(Products products) {
  products_ = products;
  for (auto& linear : linears()) linear->products = products;
}

ModelOutput ModelImpl::forward(const Batch& batch, const Capture& capture) {
  if (computes_packed(batch, capture)) return forward_packed(batch);
  auto both = capture;
  both |= head->needs();
  auto encoded = encoder->forward(batch.input_ids(), batch.attention_mask(), batch.token_type_ids(), both);
  return {head->forward(encoded, batch), std::move(encoded.hidden_states), std::move(encoded.attentions),
          std::move(encoded.projections)};
}

void ModelImpl::initialize() {
  at::NoGradGuard no_grad;
  for (const auto& item : named_parameters()) {
    auto& p = item.value();
    const bool norm = item.key().find("LayerNorm") != std::string::npos;
    if (p.dim() > 1) {
      p.normal_(0.0, config_.initializer_range);
    } else {
      p.fill_(norm && item.key().ends_with("weight") ? 1.0 : 0.0);
    }
  }
  for (const auto& table : embeddings()) {
    if (table->padding_id() >= 0) table->weight[table->padding_id()].zero_();
  }
}

void ModelImpl::set_dropout(std::optional<double> hidden, std::optional<double> attention) {
  encoder->embeddings->dropout = hidden.value_or(config_.hidden_dropout_prob);
  for (auto& layer : encoder->layers) {
    layer->hidden_dropout = hidden.value_or(config_.hidden_dropout_prob);
    layer->attention_dropout = attention.value_or(config_.attention_probs_dropout_prob);
  }
  head->set_dropout(hidden);
}

std::vector<UnitGroup> ModelImpl::prunable_units() {
  if (config_.linear_format != WeightFormat::float32) {
    throw UnsupportedError(
        fmt::format("pruning a model with {} weights: prune before quantizing", enum_name(config_.linear_format)));
  }
  std::vector<UnitGroup> groups;
  for (size_t i = 0; i < encoder->layers.size(); ++i) {
    if (config_.first_use(i) < i) continue;
    auto* layer = encoder->layers[i].get();
    const auto resize = [this, i](auto&& change) {
      for (size_t j = i; j < config_.layers.size(); ++j) {
        if (config_.first_use(j) == i) change(config_.layers[j]);
      }
    };
    const auto index = static_cast<int64_t>(i);
    std::vector<torch::Tensor> rows;
    for (const auto& linear : {layer->query, layer->key, layer->value, layer->position_key, layer->position_query}) {
      if (linear) rows.insert(rows.end(), {linear->weight, linear->bias});
    }
    groups.push_back({.kind = UnitKind::heads,
                      .layer = index,
                      .count = layer->heads,
                      .width = layer->head_size,
                      .rows = std::move(rows),
                      .columns = {layer->attention_output->weight},
                      .mask = &layer->head_mask,
                      .resized = [layer, resize](const std::vector<int64_t>& kept) {
                        layer->keep_heads(kept);
                        resize([&](LayerShape& shape) {
                          shape.num_attention_heads = layer->heads;
                          shape.position_heads = layer->position_heads;
                        });
                      }});
    groups.push_back({.kind = UnitKind::intermediate,
                      .layer = index,
                      .count = layer->intermediate->weight.size(0),
                      .width = 1,
                      .rows = {layer->intermediate->weight, layer->intermediate->bias},
                      .columns = {layer->output->weight},
                      .mask = &layer->intermediate_mask,
                      .resized = [resize](const std::vector<int64_t>& kept) {
                        resize([&](LayerShape& shape) { shape.intermediate_size = static_cast<int64_t>(kept.size()); });
                      }});
  }
  return groups;
}

std::vector<Linear> ModelImpl::linears() {
  std::vector<Linear> all;
  if (encoder->embeddings->projection) all.push_back(encoder->embeddings->projection);
  for (size_t i = 0; i < encoder->layers.size(); ++i) {
    if (config_.first_use(i) < i) continue;
    for (const auto& linear : encoder->layers[i]->linears()) all.push_back(linear);
  }
  for (const auto& linear : head->linears()) all.push_back(linear);
  return all;
}

std::vector<std::pair<std::string, Linear>> ModelImpl::named_linears() {
  std::map<const torch::nn::Module*, std::string> names;
  for (const auto& item : named_modules("", /*include_self=*/false)) names[item.value().get()] = item.key();
  const auto in_checkpoint = checkpoint_names(config_);
  std::vector<std::pair<std::string, Linear>> all;
  for (auto& linear : linears()) {
    auto name = in_checkpoint(names.at(linear.get()) + ".");
    name.pop_back();
    all.emplace_back(std::move(name), linear);
  }
  return all;
}

std::vector<Embedding> ModelImpl::embeddings() {
  return encoder->embeddings->tables();
}

Model copy(const Model& model) {
  Model twin(model->config());
  load_state_dict(*twin, state_dict(*model));
  twin->train(model->is_training());
  twin->set_products(model->products());
  return twin;
}

}  // namespace compression
