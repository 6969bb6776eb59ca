#include "prune/block_fisher.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "compress/base/error.h"             // DataError
#include "compress/state_dict/state_dict.h"  // not_finite

namespace compression::prune {

using torch::Tensor;

namespace {

constexpr double damping = 1e-4;     // in shares of the layer's mean square of a gradient, whatever the loss's scale
constexpr int64_t paper_width = 50;  // of a block

}  // namespace

BlockFisher::BlockFisher(std::vector<Linear> layers, const PatternShape& shape, const LossSource& next_loss,
                         int64_t most_bytes)
    : layers_(std::move(layers)), step_(shape.columns) {
  if (shape.rows != 1) throw std::invalid_argument("a pattern whose blocks are of several outputs");
  int64_t weights = 0;
  for (const auto& layer : layers_) weights += layer->weight.numel();
  const auto together = std::max(shape.columns, shape.of);
  const auto widest = most_bytes / (std::max<int64_t>(weights, 1) * static_cast<int64_t>(sizeof(float)));
  width_ = std::max<int64_t>(std::min(paper_width, widest) / together, 1) * together;

  std::vector<Tensor> variables;
  for (const auto& layer : layers_) {
    const at::NoGradGuard no_grad;
    variables.push_back(layer->weight);
    const auto rows = in_blocks(layer->weight).size(0);
    products_.push_back(torch::zeros({rows, width_, width_}, layer->weight.options().requires_grad(false)));
  }
  bool any = false;
  for (; const auto loss = next_loss(); any = true) {
    const auto gradients = gradients_of(*loss, variables);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (const auto odd = not_finite(gradients[i]); !odd.empty()) {
        throw DataError(
            fmt::format("obert: a gradient of the {}. linear layer: found {}, expected finite numbers", i + 1, odd));
      }
      const auto g = in_blocks(gradients[i]).unsqueeze(2);
      products_[i].baddbmm_(g, g.transpose(1, 2));
    }
  }
  if (!any) throw DataError("importance: there is no text to score on");
}

Tensor BlockFisher::in_blocks(const Tensor& values) const {
  const auto in = values.size(1), blocks = (in + width_ - 1) / width_;
  return torch::constant_pad_nd(values, {0, blocks * width_ - in}).reshape({-1, width_});
}

Tensor BlockFisher::information(size_t layer) const {
  const auto& products = products_[layer];
  const auto mean =
      products.diagonal(0, 1, 2).sum().item<double>() / static_cast<double>(layers_[layer]->weight.numel());
  const auto own = mean > 0.0 ? damping * mean : 1.0;  // without gradients, that of weights that are all worth the same
  return products.to(torch::kDouble) + own * torch::eye(width_, products.options().dtype(torch::kDouble));
}

Tensor BlockFisher::scores(size_t layer) const {
  const at::NoGradGuard no_grad;
  const auto& weight = layers_[layer]->weight;
  const auto groups = width_ / step_;
  const auto inverse = torch::linalg_inv(information(layer));
  const auto own = inverse.reshape({-1, groups, step_, groups, step_}).diagonal(0, 1, 3).permute({0, 3, 1, 2});
  const auto w = in_blocks(weight).reshape({-1, groups, step_, 1}).to(torch::kDouble);
  const auto all = (w * torch::linalg_solve(own, w)).sum({2, 3}).reshape({weight.size(0), -1}) / 2;
  return all.slice(1, 0, (weight.size(1) + step_ - 1) / step_).to(torch::kFloat).contiguous();
}

Tensor BlockFisher::pruned(size_t layer, const Tensor& kept) const {
  const at::NoGradGuard no_grad;
  const auto& weight = layers_[layer]->weight;
  const auto stays = kept.logical_and(weight.ne(0));
  const auto free = in_blocks(stays.to(torch::kDouble)).unsqueeze(2);
  const auto w = in_blocks(weight).unsqueeze(2).to(torch::kDouble);
  const auto f = information(layer);
  // The gradient of the quadratic is 0 at what stays; elsewhere the system is the identity.
  const auto system = free * f * free.transpose(1, 2) + torch::diag_embed(1.0 - free.squeeze(2));
  const auto moved = w + torch::linalg_solve(system, free * f.bmm((1.0 - free) * w));
  const auto whole = moved.reshape({weight.size(0), -1}).slice(1, 0, weight.size(1));
  return (whole * stays).to(weight.options());
}

}  // namespace compression::prune
