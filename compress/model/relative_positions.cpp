#include "compress/model/relative_positions.h"

#include <torch/types.h>

#include "compress/spec/relative_rows.h"  // relative_rows

namespace compression {

using torch::Tensor;

RelativeTableImpl::RelativeTableImpl(const ModelConfig& config)
    : positions_(config.positions()), spec_(config.relative) {
  const auto width = positions_ == Positions::bias ? spec_.heads : config.hidden_size;
  table = register_module("table", Embedding(spec_.rows, width));
  if (spec_.norm) norm = register_module("LayerNorm", LayerNorm(config.hidden_size, config.norm));
}

Tensor RelativeTableImpl::rows(int64_t length) const {
  return torch::tensor(relative_rows(positions_, spec_, length), torch::kLong);
}

RelativePairs RelativeTableImpl::pairs(int64_t length) const {
  const torch::NoGradGuard no_grad;
  const auto all = rows(length);
  const auto first = all.min().item<int64_t>();
  const auto place = torch::arange(length, torch::kLong);
  const auto distance = place.unsqueeze(1) - place.unsqueeze(0) + (length - 1);
  const auto pairs = (all - first).index_select(0, distance.flatten()).view({length, length});
  return {first, all.max().item<int64_t>() - first + 1, pairs.to(table->weight.device())};
}

Tensor RelativeTableImpl::part(int64_t first, int64_t count) {
  const auto rows = table->weight.slice(0, first, first + count);
  return norm ? norm->forward(rows) : rows;
}

RotaryAngles rotary_angles(double base, int64_t length, int64_t head_size, torch::Device device) {
  const auto options = torch::TensorOptions(device).dtype(torch::kFloat);
  const auto share = torch::arange(0, head_size, 2, options) / static_cast<double>(head_size);
  const auto angle = torch::outer(torch::arange(length, options), torch::pow(base, share).reciprocal());
  return {angle.cos(), angle.sin()};
}

}  // namespace compression
