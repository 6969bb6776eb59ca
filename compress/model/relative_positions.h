#pragma once
// The table of what attention knows of the distance between two tokens, and which row of it each pair of tokens has.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "compress/model/layers.h"  // Embedding, LayerNorm
#include "compress/spec/config.h"   // ModelConfig

namespace compression {

/// The row of each distance query - key of a text of `length` tokens: int64 [2 * length - 1], at length - 1 + distance.
/// bias: T5's 32 buckets, half of them for each direction (arXiv 1910.10683); disentangled: DeBERTa's, which are linear
/// and then logarithmic (arXiv 2006.03654), or a row for each distance. With disentangled, rows ascend with distance.
torch::Tensor relative_rows(const EncoderOptions& options, int64_t length);

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

  RelativePairs pairs(int64_t length) const;

  /// A part of the table, normalised where the model does that: [count, width].
  torch::Tensor part(int64_t first, int64_t count);

  Embedding table{nullptr};
  LayerNorm norm{nullptr};  // may be null

 private:
  EncoderOptions options_;
};
TORCH_MODULE(RelativeTable);

}  // namespace compression
