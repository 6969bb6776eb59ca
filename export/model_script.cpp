#include "export/model_script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "compress/model/relative_positions.h"  // relative_rows
#include "compress/ops/library.h"               // make_encoder_object
#include "compress/task/task.h"                 // labelled_logits
#include "compress/workflow/error.h"            // CheckpointError
#include "compress/workflow/fields.h"           // enum_name
#include "export/encoder_state.h"               // encoder_state

namespace compression::exporter {
namespace {

std::string activation(const std::string& name, const std::string& x) {
  if (name == "relu" || name == "tanh") return fmt::format("torch.{}({})", name, x);
  return fmt::format("torch.gelu({}, approximate='{}')", x, name == "gelu" ? "none" : "tanh");
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
  script.line("places = torch.arange(length, device=input_ids.device)");
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
  const auto units = script.let(activation(layer.activation, wide));
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
      script.line("positions = torch.arange(length, device=input_ids.device)");
    }
    add("embeddings.position_embeddings", embeddings.position_embeddings, "positions");
  }
  auto x = script.let(script.layer_norm("embeddings.LayerNorm", embeddings.norm, sum));
  if (embeddings.projection) x = script.let(script.linear("embeddings.projection", embeddings.projection, x));
  return x;
}

/// What the head makes of the last hidden states `x`, as in compress/model/head.cpp.
std::string head_output(Script& script, const Model& model, const std::string& x) {
  const auto& head = *model->head;
  if (const auto* sequence = dynamic_cast<const SequenceHead*>(&head)) {
    const auto first = script.let(fmt::format("torch.select({}, 1, 0)", x));
    const auto dense = script.let(script.linear("head.dense", sequence->dense, first));
    const auto pooled = script.let(activation(sequence->activation, dense));
    return script.linear("head.classifier", sequence->classifier, pooled);
  }
  if (dynamic_cast<const TokenHead*>(&head)) return script.linear("head.classifier", head.classifier, x);
  if (const auto* words = dynamic_cast<const MaskedLmHead*>(&head)) {
    const auto dense = script.let(script.linear("head.dense", words->dense, x));
    const auto normed =
        script.let(script.layer_norm("head.LayerNorm", words->norm, activation(words->activation, dense)));
    const auto table =
        script.let(script.full_weight("embeddings.word_embeddings", model->encoder->embeddings->word_embeddings));
    return fmt::format("torch.linear({}, {}, {})", normed, table, script.tensor("head.bias", words->bias));
  }
  const auto real =
      script.let(fmt::format("torch.unsqueeze(torch.to(attention_mask, {}), -1)", Script::dtype(torch::kFloat)));
  const auto mean =
      script.let(fmt::format("torch.sum({} * {}, [1]) / torch.clamp_min(torch.sum({}, [1]), 1.0)", x, real, real));
  return fmt::format("{0} / torch.clamp_min(torch.norm({0}, 2, [-1], True), {1})", mean, EmbeddingHead::smallest_norm);
}

/// What counts of a batch's outputs: tokens that are not padding, and of masked language modelling those that are
/// labelled, which are all that `own`, the model's, has.
torch::Tensor counted(const torch::Tensor& outputs, const torch::Tensor& own, const Batch& batch) {
  const auto same = own.dim() < outputs.dim() ? labelled_logits(outputs, batch.labels) : outputs;
  if (same.dim() < 3) return same;
  return same.flatten(0, 1).index_select(0, batch.attention_mask.flatten().nonzero().squeeze(1));
}

}  // namespace

Script model_script(const Model& model, Runtime runtime) {
  Script script({"input_ids", "attention_mask", "token_type_ids"});
  if (runtime == Runtime::fused) {
    const auto encoder = script.attribute("encoder", ops::make_encoder_object(encoder_state(model)));
    script.returns(encoder + ".forward(input_ids, attention_mask, token_type_ids)");
    return script;
  }
  auto& encoder = *model->encoder;
  script.line("batch = input_ids.size(0)");
  script.line("length = input_ids.size(1)");
  script.line("mask: Optional[Tensor] = None");
  script.line("if not bool(torch.all(attention_mask)):");
  script.line(fmt::format("  absent = torch.rsub(torch.to(attention_mask, {}), 1.0)", Script::dtype(torch::kFloat)));
  script.line(fmt::format("  mask = torch.unsqueeze(torch.unsqueeze(torch.mul(absent, {:.9e}), 1), 1)",
                          std::numeric_limits<float>::lowest()));
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
  const auto both = [&](const Batch& batch) {
    const auto own = model(batch);
    const auto exact = counted(own, own, batch), difference = counted(file(batch), own, batch) - exact;
    const auto largest = difference.abs().max().item<double>();
    if (!(largest <= parity.largest_difference)) parity.largest_difference = largest;
    differences += difference.square().sum(torch::kDouble).item<double>();
    logits += exact.square().sum(torch::kDouble).item<double>();
    return own;
  };
  parity.model = evaluate(both, source, context);
  parity.relative_difference = differences == 0.0 ? 0.0 : std::sqrt(differences / logits);
  if (!(parity.largest_difference <= bounds.largest_difference)) {
    throw CheckpointError(fmt::format("{}: its logits differ from the model's by up to {:.3g}; the tolerance is {:.3g}",
                                      name, parity.largest_difference, bounds.largest_difference));
  }
  if (!(parity.relative_difference <= bounds.relative_difference)) {
    throw CheckpointError(
        fmt::format("{}: its logits differ from the model's by {:.3g} of their size; expected {:.3g} at "
                    "most, unless a tolerance is set",
                    name, parity.relative_difference, bounds.relative_difference));
  }
  parity.file = evaluate(file, source, context);
  const double own = parity.model.value();
  if (!(std::abs(parity.file.value() - own) <= bounds.metric * std::max(1.0, std::abs(own)))) {
    throw CheckpointError(fmt::format("{}: its {} is {:.4f}, the model's {:.4f}", name, enum_name(parity.model.metric),
                                      parity.file.value(), own));
  }
  return parity;
}

}  // namespace compression::exporter
