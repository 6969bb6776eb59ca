#include "compress/model/model.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/checkpoint/checkpoint.h"  // state_dict
#include "compress/workflow/error.h"         // UnsupportedError
#include "compress/workflow/fields.h"        // enum_name

namespace compression {
namespace {

/// Gives a layer the storage that the config asks for, so that a checkpoint can be read into it.
void store_as(Linear& linear, WeightFormat format, ActivationScheme scheme) {
  if (format == WeightFormat::int8) {
    const auto& w = linear->weight;
    linear->store_int8(torch::zeros(w.sizes(), torch::kChar), torch::ones({w.size(0), 1}), scheme);
  } else if (format != WeightFormat::float32) {
    linear->store_16bit(format);
  }
}

void store_as(Embedding& table, WeightFormat format) {
  if (format == WeightFormat::int8) {
    table->store_int8(torch::zeros(table->weight.sizes(), torch::kChar), torch::ones({table->weight.size(0), 1}));
  } else if (format != WeightFormat::float32) {
    table->store_16bit(format);
  }
}

}  // namespace

ModelImpl::ModelImpl(ModelConfig config) : config_(std::move(config)) {
  encoder = register_module("bert", Encoder(config_));
  head = register_module("head", make_head(config_));
  for (auto& linear : linears()) store_as(linear, config_.linear_format, config_.activations);
  for (auto& table : embeddings()) store_as(table, config_.embedding_format);
}

ModelOutput ModelImpl::forward(const Batch& batch, const Capture& capture) {
  auto both = capture;
  both.last_hidden_state |= head->needs().last_hidden_state;
  auto encoded = encoder->forward(batch.input_ids, batch.attention_mask, batch.token_type_ids, both);
  return {head->forward(encoded), std::move(encoded.hidden_states), std::move(encoded.attentions)};
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
  encoder->embeddings->word_embeddings->weight[config_.pad_token_id].zero_();
}

void ModelImpl::set_dropout(std::optional<double> hidden, std::optional<double> attention) {
  encoder->embeddings->dropout = hidden.value_or(config_.hidden_dropout_prob);
  for (auto& layer : encoder->layers) {
    layer->hidden_dropout = hidden.value_or(config_.hidden_dropout_prob);
    layer->attention_dropout = attention.value_or(config_.attention_probs_dropout_prob);
  }
}

std::vector<UnitGroup> ModelImpl::prunable_units() {
  if (config_.linear_format != WeightFormat::float32) {
    throw UnsupportedError(
        fmt::format("pruning a model with {} weights: prune before quantizing", enum_name(config_.linear_format)));
  }
  std::vector<UnitGroup> groups;
  for (size_t i = 0; i < encoder->layers.size(); ++i) {
    auto* layer = encoder->layers[i].get();
    const auto index = static_cast<int64_t>(i);
    groups.push_back({.kind = UnitKind::heads,
                      .layer = index,
                      .count = layer->heads,
                      .width = layer->head_size,
                      .rows = {layer->query->weight, layer->query->bias, layer->key->weight, layer->key->bias,
                               layer->value->weight, layer->value->bias},
                      .columns = {layer->attention_output->weight},
                      .mask = &layer->head_mask,
                      .resized = [this, layer, i](int64_t count) {
                        layer->heads = count;
                        config_.layers[i].num_attention_heads = count;
                      }});
    groups.push_back({.kind = UnitKind::intermediate,
                      .layer = index,
                      .count = layer->intermediate->weight.size(0),
                      .width = 1,
                      .rows = {layer->intermediate->weight, layer->intermediate->bias},
                      .columns = {layer->output->weight},
                      .mask = &layer->intermediate_mask,
                      .resized = [this, i](int64_t count) { config_.layers[i].intermediate_size = count; }});
  }
  return groups;
}

std::vector<Linear> ModelImpl::linears() {
  std::vector<Linear> all;
  for (auto& layer : encoder->layers) {
    for (const auto& linear :
         {layer->query, layer->key, layer->value, layer->attention_output, layer->intermediate, layer->output}) {
      all.push_back(linear);
    }
  }
  for (const auto& linear : head->linears()) all.push_back(linear);
  return all;
}

std::vector<Embedding> ModelImpl::embeddings() {
  auto& e = encoder->embeddings;
  return {e->word_embeddings, e->position_embeddings, e->token_type_embeddings};
}

Model copy(const Model& model) {
  Model twin(model->config());
  load_state_dict(*twin, state_dict(*model));
  for (auto& linear : twin->linears()) linear->repack();
  twin->train(model->is_training());
  return twin;
}

}  // namespace compression
