#include "compress/model/model.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>

#include "compress/base/error.h"             // CheckpointError, UnsupportedError
#include "compress/base/fields.h"            // enum_name
#include "compress/engine/network_state.h"   // can_pack
#include "compress/families/name_table.h"    // checkpoint_names
#include "compress/spec/weights.h"           // weights
#include "compress/state_dict/state_dict.h"  // state_dict

namespace compression {
namespace {

/// Whether the runtime refuses the mask where first tokens are read: one that it does not have attends to no other's in
/// a layer, or not as others do.
bool refuses_first(const ModelConfig& config, const torch::Tensor& mask) {
  if (!masks_first(mask)) return false;
  auto reach = std::numeric_limits<int64_t>::max();
  for (const auto& layer : config.layers) {
    if (layer.attention.window > 0) reach = std::min(reach, layer.attention.window);
    if (layer.attention.causal) reach = 0;
  }
  return config.input.masks_queries || mask.ne(0).to(torch::kLong).argmax(1).max().item<int64_t>() > reach;
}

}  // namespace

ModelImpl::ModelImpl(ModelConfig config) : config_(std::move(config)) {
  const c10::InferenceMode ordinary(false);  // tensors that can be trained, and that tell when they change
  encoder = register_module("bert", Encoder(config_));
  head = register_module("head", std::make_shared<Head>(config_, encoder->embeddings->word_embeddings));
  auto unknown = config_.unquantized;
  for (auto& [name, linear] : named_linears()) {
    if (std::erase(unknown, name) > 0) continue;
    linear->make_room(config_.linear_format);
    if (storage_of(config_.linear_format).quantizes_inputs()) {
      linear->quantize_inputs(config_.activations, torch::ones({1}, torch::kFloat));
    }
  }
  if (!unknown.empty()) {
    throw CheckpointError(fmt::format(
        "quantization_config.ignore: found \"{}\", which is no linear layer of this model", unknown.front()));
  }
  for (auto& table : embeddings()) table->make_room(config_.embedding_format);
}

bool ModelImpl::computes_packed(const Batch& batch, const Capture& capture) {
  if (config_.linear_format == WeightFormat::float32 || products_ != Products::ours || is_training()) return false;
  if (capture.hidden_states || capture.attentions || capture.projections) return false;
  if (!batch.input_ids().is_cpu() || batch.input_ids().numel() == 0 || !can_pack(config_)) return false;
  // One scale for the whole input is not what the runtime has: it never sees all texts at once.
  const bool quantizes = storage_of(config_.linear_format).quantizes_inputs();
  if (quantizes && config_.activations == ActivationScheme::per_tensor) return false;
  if (head->in_runtime() == RuntimePart::all && head->reads_first() && refuses_first(config_, batch.attention_mask())) {
    return false;
  }
  for (const auto& layer : encoder->layers) {
    if (layer->head_mask.defined() || layer->intermediate_mask.defined()) return false;
  }
  for (const auto& linear : linears()) {
    if (linear->watch || !linear->parts().front().is_cpu()) return false;
  }
  return true;
}

ModelOutput ModelImpl::forward_packed(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto& ids = batch.input_ids();
  encoder->embeddings->check_length(ids.size(1));
  const auto runtime = packed_.of(*this, config_);
  const auto mask = batch.attention_mask().defined() ? batch.attention_mask() : torch::ones_like(ids);
  const auto types = batch.token_type_ids().defined() ? batch.token_type_ids() : torch::zeros_like(ids);
  if (head->in_runtime() == RuntimePart::all) return {runtime->forward(ids, mask, types), {}, {}, {}};
  return {head->behind_runtime(runtime->last_hidden_state(ids, mask, types), batch), {}, {}, {}};
}

void ModelImpl::set_products(Products products) {
  products_ = products;
  for (auto& linear : linears()) linear->products = products;
}

ModelOutput ModelImpl::forward(const Batch& batch, const Capture& capture) {
  if (computes_packed(batch, capture)) return forward_packed(batch);
  auto both = capture;
  both.last_hidden_state |= !head->reads_first();
  auto encoded = encoder->forward(batch.input_ids(), batch.attention_mask(), batch.token_type_ids(), both);
  return {head->forward(encoded, batch), std::move(encoded.hidden_states), std::move(encoded.attentions),
          std::move(encoded.projections)};
}

void ModelImpl::initialize() {
  at::NoGradGuard no_grad;
  auto parameters = named_parameters();
  for (const auto& weight : weights(config_)) {
    auto& p = parameters[weight.name];
    if (weight.axes.size() > 1) {
      p.normal_(0.0, config_.initializer_range);
    } else {
      p.fill_(weight.is_norm() && !weight.bias ? 1.0 : 0.0);
    }
  }
  for (auto& linear : linears()) {
    if (linear->format() != WeightFormat::float32) linear->clear();
  }
  for (auto& table : embeddings()) {
    if (table->format() != WeightFormat::float32) {
      table->clear();
    } else if (table->padding_id() >= 0) {
      table->weight[table->padding_id()].zero_();
    }
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
  auto parameters = named_parameters();
  const auto all = weights(config_);
  for (size_t i = 0; i < encoder->layers.size(); ++i) {
    if (config_.first_use(i) < i) continue;
    for (const auto kind : {UnitKind::heads, UnitKind::intermediate}) {
      groups.push_back(unit_group(kind, i));
      auto& group = groups.back();
      const auto label = kind == UnitKind::heads ? Label::heads : Label::units;
      for (const auto& weight : all) {
        if (weight.block != group.layer) continue;
        if (weight.axes.front().label == label) group.rows.push_back(parameters[weight.name]);
        if (weight.axes.back().label == label && weight.axes.size() > 1) {
          group.columns.push_back(parameters[weight.name]);
        }
      }
    }
  }
  return groups;
}

UnitGroup ModelImpl::unit_group(UnitKind kind, size_t index) {
  auto* layer = encoder->layers[index].get();
  if (layer->spec.attention.group > 1) throw UnsupportedError("pruning heads that share keys and values");
  const bool heads = kind == UnitKind::heads;
  return {.kind = kind,
          .layer = static_cast<int64_t>(index),
          .count = units_of(layer->spec, kind),
          .width = heads ? layer->head_size() : 1,
          .rows = {},
          .columns = {},
          .mask = heads ? &layer->head_mask : &layer->intermediate_mask,
          .resized = [this, layer, kind, index](const std::vector<int64_t>& kept) {
            layer->keep_units(kind, kept);
            for (size_t i = index; i < config_.layers.size(); ++i) {
              if (config_.first_use(i) == index) config_.layers[i] = layer->spec;
            }
          }};
}

std::vector<Linear> ModelImpl::linears() {
  auto all = block_linears();
  if (encoder->embeddings->projection) all.insert(all.begin(), encoder->embeddings->projection);
  for (const auto& linear : head->linears()) all.push_back(linear);
  return all;
}

std::vector<Linear> ModelImpl::block_linears() {
  std::vector<Linear> all;
  for (size_t i = 0; i < encoder->layers.size(); ++i) {
    if (config_.first_use(i) < i) continue;
    for (const auto& linear : encoder->layers[i]->linears()) all.push_back(linear);
  }
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
