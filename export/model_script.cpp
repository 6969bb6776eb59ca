#include "export/model_script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "compress/base/error.h"             // CheckpointError
#include "compress/model/block_math.h"       // BlockMath, Distances
#include "compress/ops/library.h"            // make_encoder_object
#include "compress/state_dict/state_dict.h"  // load_state_dict
#include "compress/task/losses.h"            // labelled_logits
#include "export/encoder_state.h"            // encoder_state

namespace compression::exporter {
namespace {

std::string activated(Activation activation, const std::string& x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu:
    case Activation::gelu_tanh:
      return fmt::format("torch.gelu({}, approximate='{}')", x, activation == Activation::gelu ? "none" : "tanh");
    case Activation::relu:
    case Activation::tanh:
    case Activation::silu:
    case Activation::sigmoid:
      return fmt::format("torch.{}({})", enum_name(activation), x);
  }
  throw std::logic_error("activation");
}

/// BlockMath as text. Values are names, or expressions of one use; "" for none.
class ScriptOps {
 public:
  using Value = std::string;

  ScriptOps(Script& script, const EncoderImpl& encoder) : script_(script) {
    for (const auto& item : encoder.named_modules("", /*include_self=*/false)) {
      names_[item.value().get()] = item.key();
    }
  }

  /// What all blocks share.
  Distances<Value> distances(const ModelConfig& config, const RelativeTable& table) {
    if (!table) return {};
    const auto longest = config.max_length();
    const auto all = script_.tensor("encoder.relative.rows", table->rows(longest));
    const auto distance = let("torch.unsqueeze(places, 1) - torch.unsqueeze(places, 0) + {}", longest - 1);
    const auto rows =
        let("torch.reshape(torch.index_select({}, 0, torch.flatten({})), [length, length])", all, distance);
    const auto weight = script_.tensor("encoder.relative.table", table->table->weight);
    if (config.positions() == Positions::bias) {
      return {.bias =
                  let("torch.reshape(torch.t(torch.index_select({}, 0, torch.flatten({}))), [1, {}, length, length])",
                      weight, rows, config.relative.heads)};
    }
    // Rows ascend with the distance: those in use are a part of the table, and the rest need not be projected.
    const auto first = let("int(torch.min({}))", rows);
    auto part = let("torch.slice({}, 0, {}, int(torch.max({})) + 1)", weight, first, rows);
    if (table->norm) part = norm(table->norm, part);
    return {.rows = let("{} - {}", rows, first), .part = part};
  }

  Value linear(const Linear& layer, const Value& x) { return let(script_.linear(name(layer), layer, x)); }
  Value bias_alone(const Linear& layer, const Value& x) {
    return layer->bias.defined() ? script_.tensor(name(layer) + ".bias", layer->bias) : let("torch.zeros_like({})", x);
  }
  Value norm(const LayerNorm& layer, const Value& x) { return let(script_.layer_norm(name(layer), layer, x)); }
  Value activated(const Value& x, Activation activation) { return let(exporter::activated(activation, x)); }
  Value sum(const Value& x, const Value& y) { return let("{} + {}", x, y); }
  Value product(const Value& x, const Value& y) { return let("{} * {}", x, y); }
  Value scaled(const Value& x, double factor) { return let("{} * {:.17g}", x, factor); }
  Value dropout(const Value& x, double) { return x; }

  Value split_heads(const Value& x, int64_t heads, int64_t size) {
    return let("torch.transpose(torch.unflatten({}, -1, [{}, {}]), -3, -2)", x, heads, size);
  }
  Value join_heads(const Value& x, int64_t width) {
    return let("torch.reshape(torch.transpose({}, 1, 2), [batch, length, {}])", x, width);
  }
  Value repeated(const Value& x, int64_t times) { return let("torch.repeat_interleave({}, {}, -3)", x, times); }
  Value turned(const Value& x) { return let("torch.transpose({}, -1, -2)", x); }
  Value products(const Value& x, const Value& rows) { return let("torch.matmul({}, {})", x, turned(rows)); }
  Value gathered(const Value& x, const Value& pairs, int64_t heads) {
    return let("torch.gather({}, -1, torch.expand({}, [batch, {}, length, length]))", x, pairs, heads);
  }
  Value selected_heads(const Value& x, const std::vector<int64_t>& heads, const EncoderLayerImpl& layer) {
    const auto kept = script_.tensor(names_.at(&layer) + ".position_heads", torch::tensor(heads, torch::kLong));
    return let("torch.index_select({}, 1, {})", x, kept);
  }

  Value falling(const std::vector<double>& slopes, const EncoderLayerImpl& layer) {
    const auto own =
        script_.tensor(names_.at(&layer) + ".slopes", -torch::tensor(slopes, torch::kFloat).view({1, -1, 1, 1}));
    const auto distance = let("torch.abs(torch.unsqueeze(places, 1) - torch.unsqueeze(places, 0))");
    return let("{} * {}", own, distance);
  }

  Value rotated(const Value& x, double base) {
    auto& angles = angles_[base];
    if (angles.first.empty()) {
      const auto steps = let("torch.arange(0, {}.size(-1), 2, dtype={}, device={}.device) / {}.size(-1)", x,
                             Script::dtype(torch::kFloat), x, x);
      const auto half = let("torch.outer(torch.to(places, {}), torch.reciprocal(torch.pow({:.17g}, {})))",
                            Script::dtype(torch::kFloat), base, steps);
      const auto angle = let("torch.cat([{0}, {0}], -1)", half);
      angles = {let("torch.cos({})", angle), let("torch.sin({})", angle)};
    }
    const auto halves = let("torch.chunk({}, 2, -1)", x);
    const auto turned = let("torch.cat([torch.neg({0}[1]), {0}[0]], -1)", halves);
    return let("{} * {} + {} * {}", x, angles.first, turned, angles.second);
  }

  Value masked(const Value& bias, const AttentionSpec& attention) {
    const auto mask = mask_of(attention);
    if (bias.empty()) return mask;
    auto& scores = sums_[{bias, mask}];  // that of a shared table is the same in all blocks
    if (!scores.empty()) return scores;
    scores = let(bias);
    script_.line(fmt::format("if {} is not None:", mask));
    script_.line(fmt::format("  {0} = {0} + {1}", scores, mask));
    return scores;
  }

  Value attention(const Value& q, const Value& k, const Value& v, const Value& bias, double scale, double) {
    return let("torch.scaled_dot_product_attention({}, {}, {}, {}, scale={:.17g})", q, k, v, bias, scale);
  }

  void see_projections(const Value&, const Value&, const Value&) {}
  Value pruned_heads(const Value& x, const EncoderLayerImpl&) { return x; }
  Value pruned_units(const Value& x, const EncoderLayerImpl&) { return x; }

 private:
  template <class... Arguments>
  Value let(fmt::format_string<Arguments...> form, Arguments&&... arguments) {
    return script_.let(fmt::format(form, std::forward<Arguments>(arguments)...));
  }
  Value let(const std::string& expression) { return script_.let(expression); }

  template <class Layer>
  const std::string& name(const Layer& layer) const {
    return names_.at(layer.get());
  }

  /// AttentionContext::mask_of.
  Value mask_of(const AttentionSpec& attention) {
    if (!attention.causal && attention.window == 0) return "mask";
    auto& mask = masks_[{attention.causal, attention.window}];
    if (!mask.empty()) return mask;
    const auto before = let("torch.unsqueeze(places, 1) - torch.unsqueeze(places, 0)");
    auto far = attention.causal ? let("torch.lt({}, 0)", before) : let("torch.gt({}, length)", before);
    if (attention.window > 0) {
      far = let("torch.logical_or({}, torch.gt(torch.abs({}), {}))", far, before, attention.window);
    }
    mask = let("torch.to({}, {}) * {:.9e}", far, Script::dtype(torch::kFloat), std::numeric_limits<float>::lowest());
    script_.line("if mask is not None:");
    script_.line(fmt::format("  {0} = torch.minimum({0}, mask)", mask));
    return mask;
  }

  Script& script_;
  std::map<const torch::nn::Module*, std::string> names_;
  std::map<double, std::pair<Value, Value>> angles_;  // cosines and sines of a base
  std::map<std::pair<bool, int64_t>, Value> masks_;
  std::map<std::pair<Value, Value>, Value> sums_;  // of biases and masks
};

std::string embedded(Script& script, const EmbeddingsImpl& embeddings) {
  std::string sum = script.let(script.embedding("embeddings.word_embeddings", embeddings.word_embeddings, "input_ids"));
  const auto add = [&](const char* name, const Embedding& table, const char* ids) {
    sum += " + " + script.let(script.embedding(name, table, ids));
  };
  if (embeddings.token_type_embeddings) {
    add("embeddings.token_type_embeddings", embeddings.token_type_embeddings, "token_type_ids");
  }
  if (embeddings.position_embeddings) {
    const auto padding = embeddings.padding_position;
    if (padding >= 0) {
      script.line(fmt::format("real = torch.to(torch.ne(input_ids, {}), {})", padding, Script::dtype(torch::kLong)));
      script.line(fmt::format("positions = torch.cumsum(real, 1) * real + {}", padding));
    } else {
      script.line("positions = places");
    }
    add("embeddings.position_embeddings", embeddings.position_embeddings, "positions");
  }
  auto x = script.let(embeddings.norm ? script.layer_norm("embeddings.LayerNorm", embeddings.norm, sum) : sum);
  if (embeddings.masks_queries) {
    script.line("if not bool(torch.all(torch.select(attention_mask, 1, 0))):");
    script.line(fmt::format("  {0} = {0} * torch.unsqueeze(torch.to(attention_mask, {1}), -1)", x,
                            Script::dtype(torch::kFloat)));
  }
  if (embeddings.projection) x = script.let(script.linear("embeddings.projection", embeddings.projection, x));
  return x;
}

/// A text's vector, as pooled() in compress/model/head.cpp. `mask`: float32 [batch, sequence].
std::string pooled(Script& script, Pooling pooling, const std::string& x, const std::string& mask) {
  const auto real = fmt::format("torch.unsqueeze({}, -1)", mask);
  const auto sum = [](const std::string& values) { return fmt::format("torch.sum({}, [1])", values); };
  const auto least = [](const std::string& weights) {
    return fmt::format("torch.clamp_min({}, {})", weights, EmbeddingHead::smallest_weight);
  };
  const auto mean_by = [&](const std::string& weights) {
    return script.let(fmt::format("{} / {}", sum(fmt::format("{} * {}", x, weights)), least(sum(weights))));
  };
  const auto token = [&](const std::string& position) {
    const auto index =
        script.let(fmt::format("torch.expand(torch.reshape({}, [-1, 1, 1]), [-1, 1, {}.size(2)])", position, x));
    return script.let(fmt::format("torch.squeeze(torch.gather({}, 1, {}), 1)", x, index));
  };
  const auto places = [&] {
    return script.let(
        fmt::format("torch.arange(1, length + 1, dtype={}, device={}.device)", Script::dtype(torch::kFloat), x));
  };
  switch (pooling) {
    case Pooling::cls:
      return token(fmt::format("torch.argmax({}, 1)", mask));
    case Pooling::max:
      return script.let(fmt::format("torch.amax(torch.masked_fill({}, torch.eq({}, 0), {:.9e}), [1])", x, real,
                                    std::numeric_limits<float>::lowest()));
    case Pooling::mean:
      return mean_by(real);
    case Pooling::mean_sqrt_len_tokens:
      return script.let(fmt::format("{} / torch.sqrt({})", sum(fmt::format("{} * {}", x, real)), least(sum(real))));
    case Pooling::weightedmean: {
      const auto before = fmt::format("torch.to(torch.argmax({}, 1, True), {})", mask, Script::dtype(torch::kFloat));
      return mean_by(script.let(fmt::format("torch.unsqueeze(({} - {}) * {}, -1)", places(), before, mask)));
    }
    case Pooling::lasttoken:
      return token(fmt::format("torch.argmax({} * {}, 1)", places(), mask));
  }
  throw std::logic_error("pooling");
}

std::string embedding_output(Script& script, const EmbeddingHead& head, const std::string& states) {
  const auto mask = script.let(fmt::format("torch.to(attention_mask, {})", Script::dtype(torch::kFloat)));
  std::vector<std::string> parts;
  for (const auto pooling : head.options.pooling) parts.push_back(pooled(script, pooling, states, mask));
  auto x = parts.size() == 1 ? parts.front() : script.let(fmt::format("torch.cat([{}], -1)", fmt::join(parts, ", ")));
  for (size_t i = 0; i < head.options.steps.size(); ++i) {
    if (!head.dense[i]) {
      x = script.let(
          fmt::format("{0} / torch.clamp_min(torch.norm({0}, 2, [-1], True), {1})", x, EmbeddingHead::smallest_norm));
      continue;
    }
    x = script.let(script.linear(fmt::format("head.dense_{}", i), head.dense[i], x));
    const auto activation = head.options.steps[i].activation;
    if (activation != Activation::none) x = script.let(activated(activation, x));
  }
  return x;
}

/// MaskedLmHead::words.
std::string words_of_hidden(Script& script, const Model& model, const MaskedLmHead& head, const std::string& hidden) {
  const auto normed = script.let(script.layer_norm("head.LayerNorm", head.norm, hidden));
  const auto table =
      script.let(script.full_weight("embeddings.word_embeddings", model->encoder->embeddings->word_embeddings));
  return fmt::format("torch.linear({}, {}, {})", normed, table, script.tensor("head.bias", head.bias));
}

/// The head's dense layer and what follows it. `norm` may be null.
std::string activated_dense(Script& script, const Linear& dense, Activation activation, const LayerNorm& norm,
                            const std::string& x) {
  auto y = script.let(activated(activation, script.let(script.linear("head.dense", dense, x))));
  return norm ? script.let(script.layer_norm("head.LayerNorm", norm, y)) : y;
}

/// What the head makes of the last hidden states `x`, as in compress/model/head.cpp.
std::string head_output(Script& script, const Model& model, const std::string& x) {
  const auto& head = *model->head;
  if (const auto* sequence = dynamic_cast<const SequenceHead*>(&head)) {
    auto text = script.let(fmt::format("torch.select({}, 1, 0)", x));
    if (sequence->mean) {
      script.line(fmt::format("real = torch.to(attention_mask, {})", Script::dtype(torch::kFloat)));
      text = script.let(fmt::format("torch.sum({} * torch.unsqueeze(real, -1), [1]) / torch.sum(real, [1], True)", x));
    }
    const auto pooled = activated_dense(script, sequence->dense, sequence->activation, sequence->norm, text);
    return script.linear("head.classifier", sequence->classifier, pooled);
  }
  if (const auto* tokens = dynamic_cast<const TokenHead*>(&head)) {
    const auto states = tokens->dense ? activated_dense(script, tokens->dense, tokens->activation, tokens->norm, x) : x;
    return script.linear("head.classifier", head.classifier, states);
  }
  if (const auto* words = dynamic_cast<const MaskedLmHead*>(&head)) {
    const auto dense = script.let(script.linear("head.dense", words->dense, x));
    return words_of_hidden(script, model, *words, activated(words->activation, dense));
  }
  return embedding_output(script, dynamic_cast<const EmbeddingHead&>(head), x);
}

}  // namespace

torch::Tensor counted(const torch::Tensor& outputs, const torch::Tensor& own, const Batch& batch) {
  const auto same = own.dim() < outputs.dim() ? labelled_logits(outputs, batch.labels()) : outputs;
  if (same.dim() < 3) return same;
  return same.flatten(0, 1).index_select(0, batch.attention_mask().flatten().nonzero().squeeze(1));
}

Script model_script(const Model& model, Runtime runtime) {
  Script script({"input_ids", "attention_mask", "token_type_ids"});
  if (runtime == Runtime::fused) {
    const auto encoder = script.attribute("encoder", ops::make_encoder_object(encoder_state(model)));
    if (model->head->as<SequenceHead>() != nullptr) {
      script.returns(encoder + ".forward(input_ids, attention_mask, token_type_ids)");
      return script;
    }
    script.line("length = input_ids.size(1)");
    const auto states = script.let(encoder + ".last_hidden_state(input_ids, attention_mask, token_type_ids)");
    const auto* words = model->head->as<MaskedLmHead>();
    const auto* tokens = model->head->as<TokenHead>();
    if (words != nullptr) {
      script.returns(words_of_hidden(script, model, *words, states));
    } else if (tokens != nullptr && tokens->dense) {
      const auto normed = script.let(script.layer_norm("head.LayerNorm", tokens->norm, states));
      script.returns(script.linear("head.classifier", tokens->classifier, normed));
    } else {
      script.returns(head_output(script, model, states));
    }
    return script;
  }
  auto& encoder = *model->encoder;
  script.line("batch = input_ids.size(0)");
  script.line("length = input_ids.size(1)");
  if (!encoder.embeddings->position_embeddings && !encoder.relative) {  // where no table is too short for it
    const auto longest = model->config().max_length();
    script.line(fmt::format("assert length <= {0}, 'found a text of more than {0} tokens'", longest));
  }
  script.line("mask: Optional[Tensor] = None");
  script.line("if not bool(torch.all(attention_mask)):");
  script.line(fmt::format("  present = torch.unsqueeze(torch.unsqueeze(torch.to(attention_mask, {}), 1), 1)",
                          Script::dtype(torch::kFloat)));
  if (encoder.embeddings->masks_queries) {
    script.line("  if not bool(torch.all(torch.select(attention_mask, 1, 0))):");
    script.line("    present = present * torch.transpose(present, -1, -2)");
  }
  script.line(
      fmt::format("  mask = torch.mul(torch.rsub(present, 1.0), {:.9e})", std::numeric_limits<float>::lowest()));
  script.line(
      fmt::format("places = torch.arange(length, dtype={}, device=input_ids.device)", Script::dtype(torch::kLong)));
  ScriptOps ops(script, encoder);
  const auto distances = ops.distances(model->config(), encoder.relative);
  auto x = embedded(script, *encoder.embeddings);
  for (const auto& layer : encoder.layers) x = BlockMath(ops, *layer).block(x, distances);
  if (encoder.final_norm) x = ops.norm(encoder.final_norm, x);
  script.returns(head_output(script, model, x));
  return script;
}

Parity check_parity(const LogitsFunction& model, const LogitsFunction& file, const BatchSource& source,
                    const ParityBounds& bounds, const std::string& name, const Context& context) {
  Parity parity;
  double differences = 0.0, logits = 0.0;  // sums of squares
  int64_t count = 0;
  const auto model_scorer = source.scorer(), file_scorer = source.scorer();
  each_output(file, source, context, [&](const Batch& batch, const torch::Tensor& outputs) {
    const auto own = model(batch);
    const auto exact = counted(own, own, batch), difference = counted(outputs, own, batch) - exact;
    model_scorer->add(batch, own);
    file_scorer->add(batch, outputs);
    if (difference.numel() == 0) return;
    const auto largest = difference.abs().max().item<double>();
    if (!(largest <= parity.largest_difference)) parity.largest_difference = largest;
    differences += difference.square().sum(torch::kDouble).item<double>();
    logits += exact.square().sum(torch::kDouble).item<double>();
    count += difference.numel();
  });
  parity.model = model_scorer->result();
  parity.file = file_scorer->result();
  parity.relative_difference = differences == 0.0 ? 0.0 : std::sqrt(differences / logits);
  const double size = std::sqrt(logits / static_cast<double>(std::max<int64_t>(count, 1)));
  const double bound = std::max(bounds.absolute, bounds.relative * size);
  if (!std::isfinite(parity.largest_difference) || !(parity.largest_difference <= bound)) {
    throw CheckpointError(fmt::format("{}: its logits differ from the model's by up to {:.3g}; the tolerance is {:.3g}",
                                      name, parity.largest_difference, bound));
  }
  return parity;
}

Model as_runtime(const Model& model, Runtime runtime) {
  auto config = model->config();
  if (config.linear_format == WeightFormat::float32) return model;
  if (runtime == Runtime::portable) {
    auto other = copy(model);
    other->set_products(Products::libtorch);
    return other;
  }
  if (config.linear_format != WeightFormat::int8 || config.activations != ActivationScheme::per_tensor) return model;
  config.activations = ActivationScheme::per_token;
  Model other(config);
  load_state_dict(*other, state_dict(*model));
  other->eval();
  return other;
}

}  // namespace compression::exporter
