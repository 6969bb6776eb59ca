#include "prune/blocks.h"

#include <torch/types.h>

#include "compress/base/error.h"  // DataError, UnsupportedError

namespace compression::prune {

torch::Tensor Block::sensitivity(const torch::Tensor& sum) const {
  if (layer->spec.place == NormPlace::before) return torch::ones_like(sum.slice(-1, 0, 1));
  return (sum.var({-1}, /*correction=*/0, /*keepdim=*/true) + norm()->eps).rsqrt();
}

std::vector<Linear> Block::makers() const {
  if (!attention && layer->spec.mlp.gated) return {layer->linear(Role::up), layer->linear(Role::gate)};
  if (!attention) return {layer->linear(Role::up)};
  const bool positions_too =
      layer->spec.attention.positions == Positions::disentangled && !layer->relative.own_projections;
  if (positions_too) return {layer->linear(Role::value)};
  return {layer->linear(Role::query), layer->linear(Role::key), layer->linear(Role::value)};
}

std::vector<Block> blocks(Model& model) {
  if (!model->config().shared_layers.empty()) {
    throw UnsupportedError("layers that share their weights can't be fitted or scored one by one");
  }
  std::vector<Block> all;
  for (const auto& layer : model->encoder->layers) {
    if (layer->spec.place == NormPlace::both) {
      throw UnsupportedError("layers that norm what attention and FFN give can't be fitted or scored one by one");
    }
    const bool last = layer.get() == model->encoder->layers.back().get();
    for (const bool attention : {true, false}) all.push_back({layer, attention, last && model->head->reads_first()});
  }
  return all;
}

torch::Tensor logits_of(const Model& model, const torch::Tensor& x, const Batch& batch) {
  auto norm = model->encoder->final_norm;
  const auto states = norm ? norm->forward(x) : x;
  return model->head->forward({.first = states.select(1, 0), .last_hidden_state = states}, batch);
}

std::vector<Texts> embed(Model& model, const BatchSource& source, const Context& context) {
  const at::NoGradGuard no_grad;  // what follows is differentiated at most with respect to blocks' sums
  std::vector<Texts> all;
  for (const auto& examples : source.plan(0)) {
    context.check_stop();
    const auto batch = source.collate(examples).to(context.device);
    all.push_back(
        {model->encoder->attention_context(batch.input_ids(), batch.attention_mask()),
         model->encoder->embeddings->forward(batch.input_ids(), batch.token_type_ids(), batch.attention_mask()),
         batch.attention_mask().to(torch::kBool), batch});
  }
  if (all.empty()) throw DataError("there is no text to calibrate on");
  return all;
}

}  // namespace compression::prune
