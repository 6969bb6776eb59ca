#include "compress/model/int8_linear.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace compression {
namespace {

const c10::OperatorHandle& prepack_operator() {
  static const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow("quantized::linear_prepack", "");
  return handle;
}

const c10::OperatorHandle& linear_operator() {
  static const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow("quantized::linear_dynamic", "");
  return handle;
}

}  // namespace

PackedInt8::PackedInt8(const torch::Tensor& values, const torch::Tensor& scale) {
  const IgnoreWarnings ignore;
  const auto scales = scale.reshape({-1}).to(torch::kDouble);
  const auto zeros = torch::zeros({scales.size(0)}, torch::kLong);
  torch::jit::Stack stack{at::_make_per_channel_quantized_tensor(values.contiguous(), scales, zeros, 0), c10::IValue()};
  prepack_operator().callBoxed(stack);
  packed_ = stack.at(0);
}

torch::Tensor PackedInt8::linear(const torch::Tensor& x, ActivationScheme scheme) const {
  const auto run = [&](const torch::Tensor& input) {
    torch::jit::Stack stack{input, packed_, reduce_range};
    linear_operator().callBoxed(stack);
    return stack.at(0).toTensor();
  };
  if (scheme == ActivationScheme::per_tensor) return run(x);
  const auto tokens = x.reshape({-1, x.size(-1)});
  const auto scale = tokens.abs().amax(-1, true).clamp_min(smallest_scale);
  const auto range = torch::full({1, x.size(-1)}, 1.0, torch::kFloat);
  const auto product = run(torch::cat({tokens / scale, range, range * range_low})).slice(0, 0, tokens.size(0)) * scale;
  auto sizes = x.sizes().vec();
  sizes.back() = product.size(1);
  return product.view(sizes);
}

}  // namespace compression
