#include "quantize/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"             // ConfigError, UnsupportedError
#include "compress/base/fields.h"            // enum_name
#include "compress/families/name_table.h"    // checkpoint_names, unknown_layers
#include "compress/ops/host_tensors.h"       // scalar_type
#include "compress/spec/weights.h"           // weights
#include "compress/state_dict/state_dict.h"  // state_dict, not_finite
#include "compress/storage/storage.h"        // storage_of

namespace compression::quantize {

WeightFormat format_of(Scheme scheme) {
  switch (scheme) {
    case Scheme::int8_dynamic:
    case Scheme::int8_static:
      return WeightFormat::int8;
    case Scheme::fp16:
      return WeightFormat::float16;
    case Scheme::bf16:
      return WeightFormat::bfloat16;
  }
  throw std::logic_error("quantization scheme");
}

void require_float32(const Model& model) {
  const auto& config = model->config();
  if (config.linear_format != WeightFormat::float32 || config.embedding_format != WeightFormat::float32) {
    throw UnsupportedError(fmt::format("quantizing a model whose weights are {} already: start from an fp32 one",
                                       enum_name(config.linear_format)));
  }
}

void require_layers(const Model& model, const std::vector<std::string>& names) {
  auto config = model->config();
  config.unquantized = names;
  const auto unknown = unknown_layers(config);
  if (unknown.empty()) return;
  throw ConfigError(fmt::format("unquantized: found {}, which no linear layer is called", fmt::join(unknown, ", ")));
}

namespace {

/// Throws UnsupportedError if a number of the weight has no place in the 16-bit format.
void require_fits(const std::string& name, const torch::Tensor& weight, WeightFormat format) {
  if (!is_16bit(format)) return;
  const auto odd = not_finite(weight.to(ops::scalar_type(storage_of(format).parts(1, 1).front().dtype)));
  if (odd.empty()) return;
  const auto largest = weight.abs().max().item<double>();
  throw UnsupportedError(fmt::format(
      "{}: found a weight of {:.6g}, which {} does not hold ({}): it holds numbers up to {:.6g}; supported for it: {}",
      name, largest, enum_name(format), odd, format == WeightFormat::float16 ? 65504.0 : 3.38953e38,
      format == WeightFormat::float16 ? "bf16, int8, fp32" : "int8, fp32"));
}

}  // namespace

void quantize(Model& model, const Formats& formats) {
  require_float32(model);
  require_layers(model, formats.unquantized);
  const c10::InferenceMode ordinary(false);  // tensors that tell when they change
  for (auto& [name, linear] : model->named_linears()) {
    const bool stays = std::ranges::find(formats.unquantized, name) != formats.unquantized.end();
    if (!stays) require_fits(name + ".weight", linear->weight, formats.linear);
  }
  const auto state = state_dict(*model);
  for (const auto& weight : weights(model->config())) {
    if (!weight.is_table()) continue;
    require_fits(checkpoint_names(model->config())(weight.name), state.at(weight.name), formats.embeddings);
  }
  auto& config = model->config();
  const bool is_static =
      storage_of(formats.linear).quantizes_inputs() && formats.activations == ActivationScheme::static_per_tensor;
  const auto input_scale = [&](const std::string& name) -> torch::Tensor {
    if (!is_static) return {};
    const auto found = formats.input_scales.find(name);
    if (found == formats.input_scales.end()) {
      throw UnsupportedError(fmt::format("static activations without an input scale of {}: calibrate first", name));
    }
    return torch::full({1}, found->second, torch::kFloat);
  };
  for (auto& [name, linear] : model->named_linears()) {
    if (std::ranges::find(formats.unquantized, name) != formats.unquantized.end()) continue;
    const auto scale = input_scale(name);
    linear->store(formats.linear);
    if (storage_of(formats.linear).quantizes_inputs()) linear->quantize_inputs(formats.activations, scale);
  }
  for (auto& table : model->embeddings()) table->store(formats.embeddings);
  config.linear_format = formats.linear;
  config.embedding_format = formats.embeddings;
  config.activations = formats.activations;
  config.unquantized = formats.unquantized;
}

}  // namespace compression::quantize
