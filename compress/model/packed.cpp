#include "compress/model/packed.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/kernels/int16_attention.h"  // int16_attention_limit

namespace compression {
namespace {

class Writer {
 public:
  ops::EncoderState state;

  void tensor(const std::string& name, const torch::Tensor& value) {
    state.tensors.insert(name, value.detach().to(torch::kCPU).contiguous());
  }
  void number(const std::string& name, double value) { state.numbers.insert(name, value); }

  void linear(const std::string& name, const Linear& layer) { linear(name, layer, layer->input_scale); }
  void linear(const std::string& name, const Linear& layer, const torch::Tensor& input_scale) {
    tensor(name + ".weight", layer->weight);
    tensor(name + ".bias", layer->bias);
    if (layer->format() == WeightFormat::int8) tensor(name + ".weight_scale", layer->weight_scale.reshape({-1}));
    if (input_scale.defined()) tensor(name + ".input_scale", input_scale);
  }
  void table(const std::string& name, const Embedding& table) {
    if (!table) return;
    tensor(name + ".weight", table->weight);
    if (table->format() == WeightFormat::int8) tensor(name + ".weight_scale", table->weight_scale);
  }
  void norm(const std::string& name, const LayerNorm& norm) {
    tensor(name + ".weight", norm->weight);
    tensor(name + ".bias", norm->bias);
  }
};

/// float32 [heads, 2 longest - 1]: what is added to the score of a pair of tokens, by key - query.
torch::Tensor position_bias(const EncoderLayerImpl& layer, const RelativeTable& shared, const ModelConfig& config) {
  const auto rows = shared->rows(config.max_length()).flip(0);  // they are by query - key
  auto table = shared->table;
  auto values = table->forward(rows).t();
  const auto& columns = layer.spec.attention.position_heads;
  if (!columns.empty()) values = values.index_select(0, torch::tensor(columns, torch::kLong));
  return values.contiguous();
}

/// The static scale of what queries, keys and values are made of; undefined where there is none. Where rows of
/// positions go through the projections of queries and keys too, theirs have another one: the largest holds for all.
torch::Tensor scale_of_input(const EncoderLayerImpl& layer) {
  torch::Tensor largest;
  for (const auto& linear : {layer.query, layer.key, layer.value}) {
    const auto& scale = linear->input_scale;
    if (!scale.defined()) return {};
    largest = largest.defined() ? torch::maximum(largest, scale) : scale;
  }
  return largest;
}

/// The part of the table that distances have, and its row of each key - query.
void add_positions(Writer& writer, const RelativeTableImpl& relative, const ModelConfig& config) {
  const auto rows = relative.rows(config.max_length()).flip(0);  // they are by query - key
  const auto first = rows.min().item<int64_t>(), count = rows.max().item<int64_t>() - first + 1;
  writer.number("content_to_position", config.relative.content_to_position ? 1.0 : 0.0);
  writer.number("position_to_content", config.relative.position_to_content ? 1.0 : 0.0);
  writer.tensor("relative.table.weight", relative.table->weight.slice(0, first, first + count));
  writer.tensor("relative.rows", (rows - first).to(torch::kInt));
  if (relative.norm) writer.norm("relative.norm", relative.norm);
}

/// Every tensor that the state is made of, in an order of its own.
std::vector<torch::Tensor> tensors_of(const EncoderImpl& encoder, const Head& head) {
  std::vector<torch::Tensor> all;
  const auto add = [&](const torch::Tensor& tensor) {
    if (tensor.defined()) all.push_back(tensor);
  };
  const auto linear = [&](const Linear& layer) {
    if (!layer) return;
    for (const auto& tensor : {layer->weight, layer->bias, layer->weight_scale, layer->input_scale}) add(tensor);
  };
  const auto norm = [&](const LayerNorm& layer) {
    add(layer->weight);
    add(layer->bias);
  };
  const auto table = [&](const Embedding& rows) {
    if (!rows) return;
    add(rows->weight);
    add(rows->weight_scale);
  };
  const auto& embeddings = *encoder.embeddings;
  for (const auto& each : embeddings.tables()) table(each);
  norm(embeddings.norm);
  linear(embeddings.projection);
  if (encoder.relative) {
    table(encoder.relative->table);
    if (encoder.relative->norm) norm(encoder.relative->norm);
  }
  for (const auto& layer : encoder.layers) {
    for (const auto& each : layer->linears()) linear(each);
    norm(layer->attention_norm);
    norm(layer->output_norm);
  }
  if (const auto* sequence = dynamic_cast<const SequenceHead*>(&head)) {
    linear(sequence->dense);
    linear(sequence->classifier);
  } else if (const auto* words = dynamic_cast<const MaskedLmHead*>(&head)) {
    linear(words->dense);
  }
  return all;
}

}  // namespace

bool can_pack(const ModelConfig& config) {
  return is_classic(config) && config.max_length() <= kernels::int16_attention_limit;
}

ops::EncoderState packed_state(const EncoderImpl& encoder, const Head& head, const ModelConfig& config) {
  const torch::NoGradGuard no_grad;
  Writer writer;
  writer.number("format", 1);
  writer.number("layers", static_cast<double>(encoder.layers.size()));
  writer.number("head_size", static_cast<double>(config.attention_head_size()));
  writer.number("score_scale", encoder.layers.front()->score_scale());
  writer.number("eps", config.norm.eps);
  writer.number("max_length", static_cast<double>(config.max_length()));
  writer.number("padding_position", static_cast<double>(encoder.embeddings->padding_position));
  writer.number("masks_queries", config.input.masks_queries ? 1.0 : 0.0);
  writer.number("function", static_cast<double>(config.hidden_act()));
  const auto& embeddings = *encoder.embeddings;
  writer.table("embeddings.word", embeddings.word_embeddings);
  writer.table("embeddings.position", embeddings.position_embeddings);
  writer.table("embeddings.token_type", embeddings.token_type_embeddings);
  writer.norm("embeddings.norm", embeddings.norm);
  if (embeddings.projection) writer.linear("embeddings.projection", embeddings.projection);
  const bool disentangled = config.positions() == Positions::disentangled;
  if (disentangled) add_positions(writer, *encoder.relative, config);
  for (size_t i = 0; i < encoder.layers.size(); ++i) {
    const auto name = fmt::format("layer.{}", i);
    const auto own = config.first_use(i);
    writer.number(name + ".weights", static_cast<double>(own));
    if (own < i) continue;
    const auto& layer = *encoder.layers[i];
    const auto scale = scale_of_input(layer);
    writer.linear(name + ".query", layer.query, scale);
    writer.linear(name + ".key", layer.key, scale);
    writer.linear(name + ".value", layer.value, scale);
    writer.linear(name + ".attention_output", layer.attention_output);
    writer.norm(name + ".attention_norm", layer.attention_norm);
    writer.linear(name + ".intermediate", layer.intermediate);
    writer.linear(name + ".output", layer.output);
    writer.norm(name + ".output_norm", layer.output_norm);
    if (encoder.relative && !disentangled && layer.heads() > 0) {
      writer.tensor(name + ".position_bias", position_bias(layer, encoder.relative, config));
    }
    if (layer.position_key) writer.linear(name + ".position_key", layer.position_key);
    if (layer.position_query) writer.linear(name + ".position_query", layer.position_query);
  }
  if (const auto* sequence = dynamic_cast<const SequenceHead*>(&head)) {
    writer.number("head.function", static_cast<double>(sequence->activation));
    writer.linear("head.dense", sequence->dense);
    writer.linear("head.classifier", sequence->classifier);
  } else if (const auto* words = dynamic_cast<const MaskedLmHead*>(&head)) {
    writer.number("head.function", static_cast<double>(words->activation));
    writer.linear("head.dense", words->dense);
  }
  return writer.state;
}

std::shared_ptr<const ops::Encoder> PackedModel::of(const EncoderImpl& encoder, const Head& head,
                                                    const ModelConfig& config) {
  return *packed_.of(tensors_of(encoder, head), [&](std::shared_ptr<const ops::Encoder>& form) {
    form = std::make_shared<const ops::Encoder>(packed_state(encoder, head, config));
  });
}

}  // namespace compression
