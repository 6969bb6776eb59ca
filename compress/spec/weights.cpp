#include "compress/spec/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "compress/spec/heads.h"        // with_head
#include "compress/spec/weight_list.h"  // WeightList

namespace compression {
namespace {

void list_input(WeightList& list, bool words) {
  const auto& config = list.config;
  const std::string at = "embeddings.";
  const auto table = [&](Role role, const char* name, Label rows, int64_t count) {
    list.table(role, at + name, rows, count, list.embedding());
  };
  if (words) table(Role::words, "word_embeddings", Label::vocabulary, config.vocab_size);
  if (config.input.positions) {
    table(Role::places, "position_embeddings", Label::places, config.max_position_embeddings);
  }
  if (config.type_vocab_size > 0) {
    table(Role::segments, "token_type_embeddings", Label::segments, config.type_vocab_size);
  }
  if (config.input.norm) list.norm(Role::input_norm, at + "LayerNorm", list.embedding(), config.norm);
  if (config.input.projection) {
    list.linear(Role::input_projection, at + "projection", list.hidden(), list.embedding());
  }
}

void list_relative(WeightList& list) {
  const auto& relative = list.config.relative;
  const auto columns = list.config.positions() == Positions::bias
                           ? Axis{.label = Label::all_heads, .size = relative.heads}
                           : list.hidden();
  list.table(Role::relative_table, "encoder.relative.table", Label::distances, relative.rows, columns);
  if (relative.norm) list.norm(Role::relative_norm, "encoder.relative.LayerNorm", list.hidden(), list.config.norm);
}

Axis heads_axis(const AttentionSpec& attention, Label label) {
  return {.label = label, .size = attention.width(), .width = attention.head_size};
}
/// Of keys and values, which are as many as the heads where these share none.
Axis heads_axis(const AttentionSpec& attention, Label label, Label shared) {
  return {.label = attention.group == 1 ? label : shared, .size = attention.kv_width(), .width = attention.head_size};
}

void list_block(WeightList& list, const BlockSpec& spec) {
  const auto& relative = list.config.relative;
  const std::string self = "attention.self.";
  const auto hidden = list.hidden();
  const auto& attention = spec.attention;
  const auto heads = heads_axis(attention, Label::heads),
             kv_heads = heads_axis(attention, Label::heads, Label::kv_heads);
  list.linear(Role::query, self + "query", heads, hidden, attention.bias);
  list.linear(Role::key, self + "key", kv_heads, hidden, attention.bias);
  list.linear(Role::value, self + "value", kv_heads, hidden, attention.bias);
  if (relative.own_projections) {
    if (relative.content_to_position) list.linear(Role::position_key, self + "position_key", heads, hidden);
    if (relative.position_to_content) list.linear(Role::position_query, self + "position_query", heads, hidden);
  }
  if (attention.head_norm) {
    const Axis one{.label = Label::head_size, .size = attention.head_size};
    list.norm(Role::query_norm, self + "query_norm", one, *attention.head_norm);
    list.norm(Role::key_norm, self + "key_norm", one, *attention.head_norm);
  }
  list.linear(Role::attention_output, "attention.output.dense", hidden, heads, attention.output_bias);
  if (spec.attention_norm) list.norm(Role::attention_norm, "attention.output.LayerNorm", hidden, spec.norm);
  const auto result_norm = [&](Role role, const char* name) {
    if (spec.place == NormPlace::both) list.norm(role, name, hidden, spec.norm);
  };
  result_norm(Role::attention_result_norm, "attention.output.result_norm");
  if (spec.cross) {
    const auto& cross = *spec.cross;
    const auto cross_heads = heads_axis(cross, Label::cross_heads),
               cross_kv_heads = heads_axis(cross, Label::cross_heads, Label::cross_kv_heads);
    list.linear(Role::cross_query, "crossattention.self.query", cross_heads, hidden, cross.bias);
    list.linear(Role::cross_key, "crossattention.self.key", cross_kv_heads, hidden, cross.bias);
    list.linear(Role::cross_value, "crossattention.self.value", cross_kv_heads, hidden, cross.bias);
    list.linear(Role::cross_output, "crossattention.output.dense", hidden, cross_heads, cross.output_bias);
    list.norm(Role::cross_norm, "crossattention.output.LayerNorm", hidden, spec.norm);
    result_norm(Role::cross_result_norm, "crossattention.output.result_norm");
  }
  const Axis units{.label = Label::units, .size = spec.mlp.units};
  list.linear(Role::up, "intermediate.dense", units, hidden, spec.mlp.bias);
  if (spec.mlp.gated) list.linear(Role::gate, "intermediate.gate", units, hidden, spec.mlp.bias);
  list.linear(Role::down, "output.dense", hidden, units, spec.mlp.bias);
  list.norm(Role::mlp_norm, "output.LayerNorm", hidden, spec.norm);
  result_norm(Role::mlp_result_norm, "output.result_norm");
}

/// `own`: the block's number among those that have weights of their own.
void list_block(WeightList& list, const BlockSpec& spec, int64_t own) {
  const auto before = list.prefix;
  list.prefix += fmt::format("encoder.layer.{}.", own);
  list_block(list, spec);
  list.prefix = before;
}

void list_final_norm(WeightList& list) {
  list.block = -1;
  if (list.config.final_norm) list.norm(Role::final_norm, "encoder.LayerNorm", list.hidden(), list.config.norm);
}

}  // namespace

bool WeightSpec::is_table() const {
  return role == Role::words || role == Role::places || role == Role::segments;
}

bool WeightSpec::is_linear() const {
  if (bias || axes.size() != 2 || is_table()) return false;
  return role != Role::classifier && role != Role::head_step && role != Role::relative_table;
}

double WeightSpec::count() const {
  double product = 1.0;
  for (const auto& axis : axes) product *= static_cast<double>(axis.size);
  return product;
}

std::vector<WeightSpec> weights(const ModelConfig& config) {
  WeightList list{.config = config, .prefix = "bert."};
  list_input(list, /*words=*/true);
  if (config.relative.rows > 0) list_relative(list);
  int64_t own = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    list.block = static_cast<int64_t>(i);
    if (config.first_use(i) == i) list_block(list, config.layers[i], own++);
  }
  list_final_norm(list);
  if (!config.decoder.empty()) {
    list.prefix = "decoder.";
    list_input(list, /*words=*/false);
    for (size_t i = 0; i < config.decoder.size(); ++i) {
      list.block = static_cast<int64_t>(config.layers.size() + i);
      list_block(list, config.decoder[i], static_cast<int64_t>(i));
    }
    list_final_norm(list);
  }
  if (config.language_head == LanguageHead::none) {
    list.prefix = "head.";
    with_head(traits_of(config.task).head, [&](auto head) { head.list(list); });
  } else if (config.language_head == LanguageHead::own) {
    list.prefix = "";
    const Axis words{.label = Label::vocabulary, .size = config.vocab_size};
    list.linear(Role::language_head, "lm_head", words, list.hidden(), /*bias=*/false);
  }
  return std::move(list.weights);
}

std::vector<WeightSpec> block_weights(const ModelConfig& config, const BlockSpec& block) {
  WeightList list{.config = config};
  list_block(list, block);
  return std::move(list.weights);
}

std::vector<ModuleSpec> modules_of(const std::vector<WeightSpec>& weights) {
  std::vector<ModuleSpec> modules;
  for (const auto& weight : weights) {
    auto name = weight.name.substr(0, weight.name.rfind('.'));
    if (!weight.bias) {
      modules.push_back({.name = std::move(name), .role = weight.role, .axes = weight.axes, .norm = weight.norm});
    } else if (!modules.empty() && modules.back().name == name) {
      modules.back().bias = true;
    }
  }
  return modules;
}

double number_count(const ModelConfig& config) {
  double count = 0.0;
  for (const auto& weight : weights(config)) count += weight.count();
  return count;
}

ModelConfig with_hidden_size(ModelConfig config, int64_t hidden_size) {
  if (config.embedding_size() == config.hidden_size && !config.input.projection) config.input.embedding_size = 0;
  config.hidden_size = hidden_size;
  const auto first = std::ranges::find(config.embedding.steps, true, &EmbeddingStep::dense);
  if (first != config.embedding.steps.end()) first->in = config.pooled_width();
  return config;
}

}  // namespace compression
