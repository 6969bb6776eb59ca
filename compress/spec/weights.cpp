#include "compress/spec/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <utility>

namespace compression {
namespace {

class Lister {
 public:
  explicit Lister(const ModelConfig& config) : config_(config) {}

  std::vector<WeightSpec> list() {
    input();
    if (config_.relative.rows > 0) relative();
    int64_t own = 0;
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      if (config_.first_use(i) == i) block(config_.layers[i], static_cast<int64_t>(i), own++);
    }
    block_ = -1;
    if (config_.final_norm) norm(Role::final_norm, "bert.encoder.LayerNorm", hidden(), config_.norm);
    if (config_.language_head == LanguageHead::none) {
      head();
    } else if (config_.language_head == LanguageHead::own) {
      const Axis words{.label = Label::vocabulary, .size = config_.vocab_size};
      linear(Role::language_head, "lm_head", words, hidden(), /*bias=*/false);
    }
    return std::move(weights_);
  }

 private:
  Axis hidden() const { return {.label = Label::hidden, .size = config_.hidden_size}; }
  Axis embedding() const {
    const auto width = config_.embedding_size();
    return config_.input.projection ? Axis{.label = Label::embedding, .size = width} : hidden();
  }

  void add(Role role, const std::string& name, bool bias, std::initializer_list<Axis> axes) {
    weights_.push_back({.name = name, .role = role, .block = block_, .bias = bias, .axes = axes});
  }
  void linear(Role role, const std::string& module, const Axis& out, const Axis& in, bool bias = true) {
    add(role, module + ".weight", false, {out, in});
    if (bias) add(role, module + ".bias", true, {out});
  }
  void norm(Role role, const std::string& module, const Axis& features, const NormSpec& spec) {
    add(role, module + ".weight", false, {features});
    if (spec.kind == NormKind::layer && spec.bias) add(role, module + ".bias", true, {features});
  }
  void table(Role role, const std::string& module, Label rows, int64_t count, const Axis& features) {
    add(role, module + ".weight", false, {{.label = rows, .size = count}, features});
  }

  void input() {
    const std::string at = "bert.embeddings.";
    table(Role::words, at + "word_embeddings", Label::vocabulary, config_.vocab_size, embedding());
    if (config_.input.positions) {
      table(Role::places, at + "position_embeddings", Label::places, config_.max_position_embeddings, embedding());
    }
    if (config_.type_vocab_size > 0) {
      table(Role::segments, at + "token_type_embeddings", Label::segments, config_.type_vocab_size, embedding());
    }
    if (config_.input.norm) norm(Role::input_norm, at + "LayerNorm", embedding(), config_.norm);
    if (config_.input.projection) linear(Role::input_projection, at + "projection", hidden(), embedding());
  }

  void relative() {
    const auto& relative = config_.relative;
    const auto columns =
        config_.positions() == Positions::bias ? Axis{.label = Label::all_heads, .size = relative.heads} : hidden();
    table(Role::relative_table, "bert.encoder.relative.table", Label::distances, relative.rows, columns);
    if (relative.norm) norm(Role::relative_norm, "bert.encoder.relative.LayerNorm", hidden(), config_.norm);
  }

  void block(const BlockSpec& spec, int64_t index, int64_t own) {
    block_ = index;
    const auto at = fmt::format("bert.encoder.layer.{}.", own);
    const auto self = at + "attention.self.";
    const auto& attention = spec.attention;
    const Axis heads{.label = Label::heads, .size = attention.width(), .width = attention.head_size};
    const Axis kv_heads{.label = attention.group == 1 ? Label::heads : Label::kv_heads,
                        .size = attention.kv_width(),
                        .width = attention.head_size};
    linear(Role::query, self + "query", heads, hidden(), attention.bias);
    linear(Role::key, self + "key", kv_heads, hidden(), attention.bias);
    linear(Role::value, self + "value", kv_heads, hidden(), attention.bias);
    if (config_.relative.own_projections) {
      if (config_.relative.content_to_position) linear(Role::position_key, self + "position_key", heads, hidden());
      if (config_.relative.position_to_content) linear(Role::position_query, self + "position_query", heads, hidden());
    }
    if (attention.head_norm) {
      const Axis one{.label = Label::head_size, .size = attention.head_size};
      norm(Role::query_norm, self + "query_norm", one, *attention.head_norm);
      norm(Role::key_norm, self + "key_norm", one, *attention.head_norm);
    }
    linear(Role::attention_output, at + "attention.output.dense", hidden(), heads, attention.output_bias);
    if (spec.attention_norm) norm(Role::attention_norm, at + "attention.output.LayerNorm", hidden(), spec.norm);
    const Axis units{.label = Label::units, .size = spec.mlp.units};
    linear(Role::up, at + "intermediate.dense", units, hidden(), spec.mlp.bias);
    if (spec.mlp.gated) linear(Role::gate, at + "intermediate.gate", units, hidden(), spec.mlp.bias);
    linear(Role::down, at + "output.dense", hidden(), units, spec.mlp.bias);
    norm(Role::mlp_norm, at + "output.LayerNorm", hidden(), spec.norm);
  }

  void head() {
    const auto classes = [](int64_t count) { return Axis{.label = Label::classes, .size = count}; };
    const auto labels = classes(static_cast<int64_t>(config_.labels.size()));
    switch (traits_of(config_.task).head) {
      case HeadKind::text:
        linear(Role::classifier, "head.classifier", labels, hidden());
        linear(Role::head_dense, "head.dense", hidden(), hidden(), config_.head.dense_bias);
        if (config_.head.norm) norm(Role::head_norm, "head.LayerNorm", hidden(), config_.norm);
        return;
      case HeadKind::tokens:
        return tokens(labels);
      case HeadKind::spans:
        return tokens(classes(2));
      case HeadKind::words:
        add(Role::head_bias, "head.bias", true, {{.label = Label::vocabulary, .size = config_.vocab_size}});
        linear(Role::head_dense, "head.dense", embedding(), hidden(), config_.head.dense_bias);
        return norm(Role::head_norm, "head.LayerNorm", embedding(), config_.norm);
      case HeadKind::embedding:
        return steps();
    }
    throw std::logic_error("head");
  }

  void tokens(const Axis& classes) {
    linear(Role::classifier, "head.classifier", classes, hidden());
    if (!config_.head.norm) return;
    linear(Role::head_dense, "head.dense", hidden(), hidden(), config_.head.dense_bias);
    norm(Role::head_norm, "head.LayerNorm", hidden(), config_.norm);
  }

  void steps() {
    Axis in{.label = Label::hidden,
            .size = config_.pooled_width(),
            .repeats = static_cast<int64_t>(config_.embedding.pooling.size())};
    for (size_t i = 0; i < config_.embedding.steps.size(); ++i) {
      const auto& step = config_.embedding.steps[i];
      if (!step.dense) continue;
      in.size = step.in;
      const Axis out{.label = Label::step, .size = step.out};
      linear(Role::head_dense, fmt::format("head.dense_{}", i), out, in, step.bias);
      in = out;
    }
  }

  const ModelConfig& config_;
  int64_t block_ = -1;
  std::vector<WeightSpec> weights_;
};

}  // namespace

bool WeightSpec::is_norm() const {
  switch (role) {
    case Role::input_norm:
    case Role::relative_norm:
    case Role::query_norm:
    case Role::key_norm:
    case Role::attention_norm:
    case Role::mlp_norm:
    case Role::final_norm:
    case Role::head_norm:
      return true;
    default:
      return false;
  }
}

bool WeightSpec::is_table() const {
  return role == Role::words || role == Role::places || role == Role::segments;
}

double WeightSpec::count() const {
  double product = 1.0;
  for (const auto& axis : axes) product *= static_cast<double>(axis.size);
  return product;
}

std::vector<WeightSpec> weights(const ModelConfig& config) {
  return Lister(config).list();
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
