#pragma once
// The second-order score of single weights and of blocks of them: what the loss gains when they go and the others make
// good what they can (optimal brain surgeon), by the empirical Fisher information in blocks on the diagonal. Kurtic et
// al., oBERT, arXiv 2203.07259.

#include <vector>

#include "compress/model/layers.h"   // Linear
#include "compress/spec/sparsity.h"  // PatternShape
#include "prune/importance.h"        // LossSource

namespace compression::prune {

/// Each layer's Fisher information, the sum of g g^T over gradients g and a damping, in blocks of some neighbouring
/// inputs of an output. Immutable; made of the weights as they are.
class BlockFisher {
 public:
  /// A pattern's blocks are of one output. Blocks of the information are the paper's 50 inputs wide, rounded to whole
  /// blocks of the pattern, or narrower, so that all take at most `most_bytes`: a float32 for each weight and input of
  /// its block. Throws DataError if there is no loss, or a gradient is not finite; what `next_loss` throws.
  BlockFisher(std::vector<Linear> layers, const PatternShape& shape, const LossSource& next_loss,
              int64_t most_bytes = int64_t{4} << 30);

  /// A layer's score for each block of the pattern, as block_sums() has them, of N:M for each weight, float32:
  /// w^T ([F^-1] of the block)^-1 w / 2, equation 3 of the paper.
  torch::Tensor scores(size_t layer) const;

  /// The layer's weight [out, in] where those that are not `kept` (bool) are 0, and the others of their block of the
  /// information have moved to where the loss is least: as equation 4 has it, for all that goes together. What is 0
  /// stays 0.
  torch::Tensor pruned(size_t layer, const torch::Tensor& kept) const;

  int64_t width() const { return width_; }  // inputs of a block of the information

 private:
  /// [out * blocks, width] of [out, in], with zeros at the end.
  torch::Tensor in_blocks(const torch::Tensor& values) const;

  /// With the damping, float64.
  torch::Tensor information(size_t layer) const;

  std::vector<Linear> layers_;
  const int64_t step_;  // inputs that go together
  int64_t width_;
  std::vector<torch::Tensor> products_;  // float32 [out * blocks, width, width]
};

}  // namespace compression::prune
