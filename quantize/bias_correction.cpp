#include "quantize/bias_correction.h"

#include <torch/types.h>

#include "compress/model/autocast.h"  // OrdinaryMode

namespace compression::quantize {

double correct_biases(Model& quantized, Model& original, const BatchSource& texts, const Context& context) {
  const OrdinaryMode ordinary(context.device);
  const at::NoGradGuard no_grad;
  struct Sums {
    torch::Tensor inputs, outputs;  // float64 [in] of the original's, [out] of the int8 layer's
    int64_t rows = 0;
  };
  std::vector<Linear> from, to;
  std::vector<Sums> sums;
  const auto layers = quantized->linears(), originals = original->linears();
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i]->format() != WeightFormat::int8 || layers[i]->weight.numel() == 0) continue;
    from.push_back(originals[i]);
    to.push_back(layers[i]);
    const auto& weight = layers[i]->weight;
    sums.push_back({torch::zeros({weight.size(1)}, torch::kDouble), torch::zeros({weight.size(0)}, torch::kDouble)});
  }
  each_input(original, from, texts, context, [&](size_t i, const torch::Tensor& rows) {
    if (rows.size(0) == 0) return;
    sums[i].inputs += rows.sum({0}, false, torch::kDouble);
    sums[i].outputs += to[i]->forward(rows).sum({0}, false, torch::kDouble);
    sums[i].rows += rows.size(0);
  });
  double moved = 0.0;
  int64_t outputs = 0;
  for (size_t i = 0; i < to.size(); ++i) {
    if (sums[i].rows == 0) continue;
    const auto rows = static_cast<double>(sums[i].rows);
    const auto exact = from[i]->weight.to(torch::kDouble).mv(sums[i].inputs / rows) + from[i]->bias;
    const auto shift = exact - sums[i].outputs / rows;
    to[i]->bias.add_(shift.to(torch::kFloat));
    moved += shift.abs().sum().item<double>();
    outputs += shift.numel();
  }
  return outputs > 0 ? moved / static_cast<double>(outputs) : 0.0;
}

}  // namespace compression::quantize
