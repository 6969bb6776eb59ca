#pragma once
// Encoded texts that a model reads together.

#include <torch/types.h>

#include <cstdint>

namespace compression {

/// In a batch's labels: a token that has none.
inline constexpr int64_t ignored_label = -100;

struct Batch {
  torch::Tensor input_ids;       // int64 [batch, sequence]
  torch::Tensor attention_mask;  // int64 [batch, sequence]: 1 for a token, 0 for padding
  torch::Tensor token_type_ids;  // int64 [batch, sequence]
  torch::Tensor labels;    // of the task (docs/tasks.md), int64 [batch] for classes; undefined where there are none
  torch::Tensor examples;  // int64 [batch]: the rows' positions in the source

  int64_t size() const { return input_ids.size(0); }

  /// The same on `device`; `examples` stay on the CPU, with the caches that they are looked up in.
  Batch to(torch::Device device) const;
};

/// Positions of the tokens that have a label: int64 [labelled tokens], counted through labels [batch, sequence].
torch::Tensor labelled_tokens(const torch::Tensor& labels);

}  // namespace compression
