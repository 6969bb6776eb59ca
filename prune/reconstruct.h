#pragma once
// What the weights that are left can make good without training: each layer is fitted to the unpruned model's.

#include <utility>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context
#include "prune/config.h"                // Reconstruction

namespace compression::prune {

/// [rows, inputs] -> [rows, inputs + 1]: the last is 1, what a bias is multiplied by.
torch::Tensor with_bias(const torch::Tensor& inputs);

/// Throws DataError if one of such sums over texts is not finite.
void require_finite(const torch::Tensor& sums);

/// The lower Cholesky factor of a symmetric float64 matrix of sums over texts. Throws DataError if they are not finite,
/// or it has none.
torch::Tensor cholesky_factor(const torch::Tensor& matrix);

/// The mean of a matrix's diagonal, which damping is in shares of. Where all of it is 0, as of units that are 0 on all
/// texts, 1: any damping then keeps what is given.
double mean_square(const torch::Tensor& diagonal);

/// The normal equations of a linear layer that is fitted to given outputs: the Gram matrix of its inputs and what they
/// have in common with the outputs. Sums are float64; inputs and outputs themselves are not kept.
class LeastSquares {
 public:
  LeastSquares(int64_t inputs, int64_t outputs);

  /// inputs: float32 [rows, inputs], outputs: float32 [rows, outputs]. weights: float32 [rows, 1], what a row's error
  /// is multiplied by.
  void add(const torch::Tensor& inputs, const torch::Tensor& outputs, const torch::Tensor& weights);

  /// Weight [outputs, inputs] and bias [outputs], which stays undefined where it is, with the least sum over rows of
  ///   |weight x input + bias - output|^2, and damping x s x |weight - given weight|^2,
  /// s being the inputs' mean square: the unstructured weights' form of ZipLM (Kurtic et al., arXiv 2302.04089) and
  /// SparseGPT (Frantar and Alistarh, arXiv 2301.00774), solved exactly.
  std::pair<torch::Tensor, torch::Tensor> solve(const torch::Tensor& weight, const torch::Tensor& bias,
                                                double damping) const;

  /// A factor for every `width` inputs, float64 [inputs / width]: the weight's columns times them, with the given bias,
  /// have the least sum of squares, with damping x s' x |factor - 1|^2 added, s' being the mean square of what a factor
  /// changes. Kwon et al., arXiv 2204.09656, section 4.3, with normal equations in place of LSMR.
  torch::Tensor factors(const torch::Tensor& weight, const torch::Tensor& bias, int64_t width, double damping) const;

 private:
  torch::Tensor gram_;   // float64 [inputs + 1, inputs + 1]; the last is 1 for the bias
  torch::Tensor cross_;  // float64 [inputs + 1, outputs]
};

/// Fits a pruned model to `original`, of which it has the units `kept` of each group, on these texts and without
/// training: block by block, from the first on, with what the pruned model itself gives as inputs, so that errors of
/// the blocks before are made good too.
///
/// - rescale, least_squares: what reads heads and FFN units, so that each block's sum before its LayerNorm is that of
///   the original. Tokens are weighted as the LayerNorm will divide them, padding is left out, and of the last layer
///   only what the head reads counts.
/// - layerwise: before that, what makes the units, so that their values before the activation, or the queries, keys and
///   values, are those of the original; and at the end the head's layers.
///
/// Both models are in evaluation mode.
///
/// Memory: the inputs of one block for all texts in both models, and one LeastSquares. Throws UnsupportedError if
/// layers share weights; DataError if there is no text, or what it gives is not finite; Interrupted.
void reconstruct(Model& model, Model& original, const std::vector<torch::Tensor>& kept, const BatchSource& texts,
                 Reconstruction method, double damping, const Context& context);

}  // namespace compression::prune
