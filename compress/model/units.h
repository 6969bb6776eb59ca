#pragma once
// What a module must offer to be pruned: the units that can be cut from it whole. Our encoder offers the same.

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "compress/spec/block.h"  // UnitKind

namespace compression {

/// Units of one layer that are alike: its attention heads, or the units between its two FFN matrices. Layers that share
/// their weights are one.
struct UnitGroup {
  UnitKind kind = UnitKind::heads;
  int64_t layer = 0;
  int64_t count = 0;                   // units
  int64_t width = 1;                   // features a unit: the size of a head, or 1
  std::vector<torch::Tensor> rows;     // weights [count * width, ...] and biases [count * width] that make the units
  std::vector<torch::Tensor> columns;  // weights [..., count * width] that read them
  /// float32 [count], or [batch, count] with a mask a text; while it is defined, forward() multiplies the units by it.
  torch::Tensor* mask = nullptr;
  std::function<void(const std::vector<int64_t>&)> resized;  // told after a cut which units are left, ascending
};

class Prunable {
 public:
  virtual ~Prunable() = default;

  /// All groups, layer by layer. The tensors are the module's own: cutting changes them in place.
  virtual std::vector<UnitGroup> prunable_units() = 0;
};

}  // namespace compression
