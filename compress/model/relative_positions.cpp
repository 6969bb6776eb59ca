#include "compress/model/relative_positions.h"

#include <torch/types.h>

#include <cmath>

namespace compression {
namespace {

using torch::Tensor;

// The operators, and their order, are those of transformers: float32 rounding decides on which side of a border a
// distance falls.

/// Eight buckets for the distances below 8, eight for those up to 128; the same again for keys after the query.
Tensor bias_rows(const Tensor& distance) {
  constexpr int64_t buckets = 16, exact = 8, furthest = 128;
  const auto size = distance.abs();
  const auto logarithmic = (torch::log(size.clamp_min(1).to(torch::kFloat) / exact) /
                            std::log(static_cast<double>(furthest) / exact) * (buckets - exact))
                               .to(torch::kLong);
  const auto bucket = torch::where(size < exact, size, (logarithmic + exact).clamp_max(buckets - 1));
  return bucket + distance.lt(0).to(torch::kLong) * buckets;
}

/// Distances up to the middle have a bucket each; those from there to the range share the rest.
Tensor bucketed(const Tensor& distance, int64_t buckets, int64_t range) {
  const auto middle = buckets / 2;
  const auto size = torch::where(distance.abs() < middle, torch::full_like(distance, middle - 1), distance.abs());
  const auto span =
      torch::log(torch::tensor(static_cast<float>(static_cast<double>(range - 1) / middle), torch::kFloat));
  const auto logarithmic = torch::ceil(torch::log(size.to(torch::kFloat) / middle) / span * (middle - 1)) + middle;
  return torch::where(size <= middle, distance.to(torch::kFloat), logarithmic * distance.sign()).to(torch::kLong);
}

}  // namespace

Tensor relative_rows(const EncoderOptions& options, int64_t length) {
  const auto distance = torch::arange(1 - length, length, torch::kLong);
  if (options.relative == RelativeAttention::bias) return bias_rows(distance);
  const bool buckets = options.relative_buckets > 0;
  const auto bucket = buckets ? bucketed(distance, options.relative_buckets, options.relative_range) : distance;
  return (bucket + options.relative_rows / 2).clamp(0, options.relative_rows - 1);
}

RelativeTableImpl::RelativeTableImpl(const ModelConfig& config) : options_(config.encoder) {
  const bool bias = options_.relative == RelativeAttention::bias;
  table = register_module("table", Embedding(options_.relative_rows, bias ? options_.bias_heads : config.hidden_size));
  if (options_.relative_norm) {
    norm = register_module("LayerNorm", LayerNorm(config.hidden_size, config.layer_norm_eps));
  }
}

RelativePairs RelativeTableImpl::pairs(int64_t length) const {
  const torch::NoGradGuard no_grad;
  const auto rows = relative_rows(options_, length);
  const auto first = rows.min().item<int64_t>();
  const auto place = torch::arange(length, torch::kLong);
  const auto distance = place.unsqueeze(1) - place.unsqueeze(0) + (length - 1);
  const auto pairs = (rows - first).index_select(0, distance.flatten()).view({length, length});
  return {first, rows.max().item<int64_t>() - first + 1, pairs.to(table->weight.device())};
}

Tensor RelativeTableImpl::part(int64_t first, int64_t count) {
  const auto rows = table->weight.slice(0, first, first + count);
  return norm ? norm->forward(rows) : rows;
}

}  // namespace compression
