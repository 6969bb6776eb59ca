#include "export/model_script.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "compress/workflow/error.h"  // CheckpointError

namespace compression::exporter {
namespace {

std::string activation(const std::string& name, const std::string& x) {
  if (name == "relu") return fmt::format("torch.relu({})", x);
  return fmt::format("torch.gelu({}, approximate='{}')", x, name == "gelu" ? "none" : "tanh");
}

std::string encoder_layer(Script& script, const std::string& name, const EncoderLayerImpl& layer,
                          const std::string& x) {
  const auto heads = [&](const char* part, const Linear& projection) {
    const auto flat = script.let(script.linear(name + ".attention.self." + part, projection, x));
    return script.let(fmt::format("torch.transpose(torch.view({}, [batch, length, {}, {}]), 1, 2)", flat, layer.heads,
                                  layer.head_size));
  };
  const auto q = heads("query", layer.query), k = heads("key", layer.key), v = heads("value", layer.value);
  const auto context = script.let(fmt::format("torch.scaled_dot_product_attention({}, {}, {}, mask)", q, k, v));
  const auto joined = script.let(fmt::format("torch.reshape(torch.transpose({}, 1, 2), [batch, length, {}])", context,
                                             layer.heads * layer.head_size));
  const auto attended = script.let(script.linear(name + ".attention.output.dense", layer.attention_output, joined));
  const auto middle =
      script.let(script.layer_norm(name + ".attention.output.LayerNorm", layer.attention_norm, attended + " + " + x));
  const auto wide = script.let(script.linear(name + ".intermediate.dense", layer.intermediate, middle));
  const auto units = script.let(activation(layer.activation, wide));
  const auto narrow = script.let(script.linear(name + ".output.dense", layer.output, units));
  return script.let(script.layer_norm(name + ".output.LayerNorm", layer.output_norm, narrow + " + " + middle));
}

}  // namespace

Script model_script(const Model& model) {
  Script script({"input_ids", "attention_mask", "token_type_ids"});
  auto& encoder = *model->encoder;
  const auto& table = encoder.embeddings;
  script.line("batch = input_ids.size(0)");
  script.line("length = input_ids.size(1)");
  script.line("mask: Optional[Tensor] = None");
  script.line("if not bool(torch.all(attention_mask)):");
  script.line(fmt::format("  absent = torch.rsub(torch.to(attention_mask, {}), 1.0)", Script::dtype(torch::kFloat)));
  script.line(fmt::format("  mask = torch.unsqueeze(torch.unsqueeze(torch.mul(absent, {:.9e}), 1), 1)",
                          std::numeric_limits<float>::lowest()));
  const auto words = script.let(script.embedding("embeddings.word_embeddings", table->word_embeddings, "input_ids"));
  const auto types =
      script.let(script.embedding("embeddings.token_type_embeddings", table->token_type_embeddings, "token_type_ids"));
  script.line("positions = torch.arange(length, device=input_ids.device)");
  const auto places =
      script.let(script.embedding("embeddings.position_embeddings", table->position_embeddings, "positions"));
  auto x = script.let(
      script.layer_norm("embeddings.LayerNorm", table->norm, fmt::format("{} + {} + {}", words, types, places)));
  for (size_t i = 0; i < encoder.layers.size(); ++i) {
    x = encoder_layer(script, fmt::format("encoder.layer.{}", i), *encoder.layers[i], x);
  }
  const auto first = script.let(fmt::format("torch.select({}, 1, 0)", x));
  const auto& head = dynamic_cast<const SequenceHead&>(*model->head);
  const auto pooled = script.let(fmt::format("torch.tanh({})", script.linear("head.dense", head.dense, first)));
  script.returns(script.linear("head.classifier", head.classifier, pooled));
  return script;
}

Parity check_parity(const LogitsFunction& model, const LogitsFunction& file, const BatchSource& source,
                    double tolerance, const std::string& name, const Context& context) {
  Parity parity;
  const auto both = [&](const Batch& batch) {
    const auto own = model(batch);
    const auto difference = (own - file(batch)).abs().max().item<double>();
    if (!(difference <= parity.largest_difference)) parity.largest_difference = difference;
    return own;
  };
  parity.model = evaluate(both, source, context);
  if (!(parity.largest_difference <= tolerance)) {
    throw CheckpointError(fmt::format("{}: its logits differ from the model's by up to {:.3g}; the tolerance is {:.3g}",
                                      name, parity.largest_difference, tolerance));
  }
  parity.file = evaluate(file, source, context);
  if (std::abs(parity.file.accuracy() - parity.model.accuracy()) > 0.001) {
    throw CheckpointError(fmt::format("{}: its accuracy is {:.4f}, the model's {:.4f}", name, parity.file.accuracy(),
                                      parity.model.accuracy()));
  }
  return parity;
}

}  // namespace compression::exporter
