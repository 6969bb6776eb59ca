#include "export/model_script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "compress/base/error.h"                // CheckpointError
#include "compress/checkpoint/checkpoint.h"     // load_state_dict
#include "compress/model/relative_positions.h"  // relative_rows
#include "compress/ops/library.h"               // make_encoder_object
#include "compress/task/losses.h"               // labelled_logits
#include "export/encoder_state.h"               // encoder_state

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

/// [..., sequence, heads * size] -> [..., heads, sequence, size]
std::string split_heads(const EncoderLayerImpl& layer, const std::string& x) {
  return fmt::format("torch.transpose(torch.unflatten({}, -1, [{}, {}]), -3, -2)", x, layer.heads, layer.head_size);
}

/// Names of values that all layers read. bias: what is added to the scores of all heads, the mask in it. disentangled:
/// the pairs' rows, and the part of the table that holds them (RelativePairs).
struct Relative {
  std::string bias, rows, part;
};

void add_mask(Script& script, const std::string& scores) {
  script.line("if mask is not None:");
  script.line(fmt::format("  {0} = {0} + mask", scores));
}

Relative relative_positions(Script& script, const RelativeTableImpl& table, const ModelConfig& config) {
  const auto longest = config.max_length();
  const auto all = script.tensor("encoder.relative.rows", relative_rows(config.encoder, longest));
  script.line(
      fmt::format("places = torch.arange(length, dtype={}, device=input_ids.device)", Script::dtype(torch::kLong)));
  const auto distance =
      script.let(fmt::format("torch.unsqueeze(places, 1) - torch.unsqueeze(places, 0) + {}", longest - 1));
  const auto rows =
      script.let(fmt::format("torch.reshape(torch.index_select({}, 0, torch.flatten({})), "
                             "[length, length])",
                             all, distance));
  const auto weight = script.tensor("encoder.relative.table", table.table->weight);
  if (config.encoder.relative == RelativeAttention::bias) {
    const auto bias = script.let(
        fmt::format("torch.reshape(torch.t(torch.index_select({}, 0, torch.flatten({}))), [1, {}, length, length])",
                    weight, rows, config.encoder.bias_heads));
    add_mask(script, bias);
    return {.bias = bias};
  }
  // Rows ascend with the distance: those in use are a part of the table, and the rest need not be projected.
  const auto first = script.let(fmt::format("int(torch.min({}))", rows));
  auto part = script.let(fmt::format("torch.slice({}, 0, {}, int(torch.max({})) + 1)", weight, first, rows));
  if (table.norm) part = script.let(script.layer_norm("encoder.relative.LayerNorm", table.norm, part));
  return {.rows = script.let(fmt::format("{} - {}", rows, first)), .part = part};
}

/// What is added to the scores of one layer, as in EncoderLayerImpl::relative_scores, and the mask.
std::string score_bias(Script& script, const std::string& name, const EncoderLayerImpl& layer, const Relative& relative,
                       const std::string& q, const std::string& k) {
  if (layer.options.relative == RelativeAttention::bias) {
    if (layer.position_heads.empty()) return relative.bias;
    const auto heads = script.tensor(name + ".position_heads", torch::tensor(layer.position_heads, torch::kLong));
    return script.let(fmt::format("torch.index_select({}, 1, {})", relative.bias, heads));
  }
  const auto by_pair = [&](const std::string& content, const char* part, const Linear& projection,
                           const std::string& rows) {
    const auto own = script.let(script.linear(name + ".attention.self." + part, projection, relative.part));
    const auto all =
        script.let(fmt::format("torch.matmul({}, torch.transpose({}, -1, -2))", content, split_heads(layer, own)));
    return fmt::format("torch.gather({}, -1, torch.expand({}, [batch, {}, length, length])) * {:.17g}", all, rows,
                       layer.heads, layer.score_scale());
  };
  std::vector<std::string> terms;
  if (layer.options.content_to_position) {
    terms.push_back(script.let(layer.position_key ? by_pair(q, "position_key", layer.position_key, relative.rows)
                                                  : by_pair(q, "key", layer.key, relative.rows)));
  }
  if (layer.options.position_to_content) {
    const auto turned = fmt::format("torch.t({})", relative.rows);
    const auto term = layer.position_query ? by_pair(k, "position_query", layer.position_query, turned)
                                           : by_pair(k, "query", layer.query, turned);
    terms.push_back(script.let(fmt::format("torch.transpose({}, -1, -2)", term)));
  }
  if (terms.empty()) return "mask";
  const auto scores = script.let(fmt::format("{}", fmt::join(terms, " + ")));
  add_mask(script, scores);
  return scores;
}

/// What attention adds, before its LayerNorm.
std::string attended(Script& script, const std::string& name, const EncoderLayerImpl& layer,
                     const std::optional<Relative>& relative, const std::string& x) {
  if (layer.heads == 0) return script.tensor(name + ".attention.output.dense.bias", layer.attention_output->bias);
  const auto heads = [&](const char* part, const Linear& projection) {
    const auto flat = script.let(script.linear(name + ".attention.self." + part, projection, x));
    return script.let(split_heads(layer, flat));
  };
  const auto q = heads("query", layer.query), k = heads("key", layer.key), v = heads("value", layer.value);
  const auto bias = relative ? score_bias(script, name, layer, *relative, q, k) : "mask";
  const auto context = script.let(fmt::format("torch.scaled_dot_product_attention({}, {}, {}, {}, scale={:.17g})", q, k,
                                              v, bias, layer.score_scale()));
  const auto joined = script.let(fmt::format("torch.reshape(torch.transpose({}, 1, 2), [batch, length, {}])", context,
                                             layer.heads * layer.head_size));
  return script.let(script.linear(name + ".attention.output.dense", layer.attention_output, joined));
}

/// What the FFN adds, before its LayerNorm.
std::string fed_forward(Script& script, const std::string& name, const EncoderLayerImpl& layer, const std::string& x) {
  if (layer.output->weight.numel() == 0) return script.tensor(name + ".output.dense.bias", layer.output->bias);
  const auto wide = script.let(script.linear(name + ".intermediate.dense", layer.intermediate, x));
  const auto units = script.let(activated(layer.activation, wide));
  return script.let(script.linear(name + ".output.dense", layer.output, units));
}

std::string encoder_layer(Script& script, const std::string& name, const EncoderLayerImpl& layer,
                          const std::optional<Relative>& relative, const std::string& x) {
  const auto attention = attended(script, name, layer, relative, x);
  const auto middle =
      script.let(script.layer_norm(name + ".attention.output.LayerNorm", layer.attention_norm, attention + " + " + x));
  const auto narrow = fed_forward(script, name, layer, middle);
  return script.let(script.layer_norm(name + ".output.LayerNorm", layer.output_norm, narrow + " + " + middle));
}

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
      script.line(fmt::format("positions = torch.arange(length, dtype={}, device=input_ids.device)",
                              Script::dtype(torch::kLong)));
    }
    add("embeddings.position_embeddings", embeddings.position_embeddings, "positions");
  }
  auto x = script.let(script.layer_norm("embeddings.LayerNorm", embeddings.norm, sum));
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

/// What the head makes of the last hidden states `x`, as in compress/model/head.cpp.
std::string head_output(Script& script, const Model& model, const std::string& x) {
  const auto& head = *model->head;
  if (const auto* sequence = dynamic_cast<const SequenceHead*>(&head)) {
    const auto first = script.let(fmt::format("torch.select({}, 1, 0)", x));
    const auto dense = script.let(script.linear("head.dense", sequence->dense, first));
    const auto pooled = script.let(activated(sequence->activation, dense));
    return script.linear("head.classifier", sequence->classifier, pooled);
  }
  if (dynamic_cast<const TokenHead*>(&head)) return script.linear("head.classifier", head.classifier, x);
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
    script.returns(words != nullptr ? words_of_hidden(script, model, *words, states)
                                    : head_output(script, model, states));
    return script;
  }
  auto& encoder = *model->encoder;
  script.line("batch = input_ids.size(0)");
  script.line("length = input_ids.size(1)");
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
  std::optional<Relative> relative;
  if (encoder.relative) relative = relative_positions(script, *encoder.relative, model->config());
  auto x = embedded(script, *encoder.embeddings);
  for (size_t i = 0; i < encoder.layers.size(); ++i) {
    const auto name = fmt::format("encoder.layer.{}", model->config().first_use(i));
    x = encoder_layer(script, name, *encoder.layers[i], relative, x);
  }
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
