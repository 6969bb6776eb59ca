#pragma once
// The table of what attention knows of the distance between two tokens, and which row of it each pair of tokens has;
// and the angles of rotary positions.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "compress/model/layers.h"  // Embedding, LayerNorm
#include "compress/spec/config.h"   // ModelConfig

namespace compression {

/// The rows that a text's pairs of tokens have.
struct RelativePairs {
  int64_t first = 0, count = 0;  // the part of the table that holds them all
  torch::Tensor rows;            // int64 [query, key], from `first`
};

/// The table, which all layers share.
class RelativeTableImpl : public torch::nn::Module {
 public:
  /// bias: [rows, heads]; disentangled: [rows, hidden].
  explicit RelativeTableImpl(const ModelConfig& config);

  /// relative_rows(): int64 [2 * length - 1].
  torch::Tensor rows(int64_t length) const;

  RelativePairs pairs(int64_t length) const;

  /// A part of the table, normalised where the model does that: [count, width].
  torch::Tensor part(int64_t first, int64_t count);

  Embedding table{nullptr};
  LayerNorm norm{nullptr};  // may be null

 private:
  Positions positions_;
  RelativeSpec spec_;
};
TORCH_MODULE(RelativeTable);

/// By what rotary positions turn the pairs of a head's features at each place: float32 [length, head size / 2] each.
struct RotaryAngles {
  torch::Tensor cosine, sine;
};
RotaryAngles rotary_angles(double base, int64_t length, int64_t head_size, torch::Device device);

}  // namespace compression
