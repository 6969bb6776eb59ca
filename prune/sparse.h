#pragma once
// Zeros inside the matrices that stay: which weights go, in a pattern that kernels can leave out.

#include <functional>
#include <string>
#include <vector>

#include "compress/kernels/sparse_choice.h"  // SparseChoice
#include "compress/model/model.h"            // Model
#include "compress/spec/sparsity.h"          // PatternShape
#include "compress/task/batch_source.h"      // BatchSource
#include "prune/config.h"                    // ScoreConfig
#include "prune/importance.h"                // LossSource

namespace compression::prune {

/// The finest pattern whose zeros this machine's int8 kernels leave out; `pattern` itself where it is not automatic.
SparsityPattern resolved(SparsityPattern pattern);

/// A linear layer of a block [out, in], and what its zeros are worth in int8 on this machine, as measured for its size
/// and density.
struct LayerZeros {
  std::string name;  // in the checkpoint
  int64_t layer = 0, out = 0, in = 0;
  double density = 1.0;  // the share of weights that are not 0
  double words = 1.0;    // of words, which the kernels take (kernels/sparse.h), that are not all 0
  kernels::SparseChoice choice;
};

/// In the order of computing; layers that share weights once.
std::vector<LayerZeros> layer_zeros(Model& model);

/// How many times faster all their products are in int8 than if nothing were 0.
double int8_gain(const std::vector<LayerZeros>& layers);

/// What a matrix's blocks have of `values` [out, in] together: [blocks of rows, blocks of columns]. Blocks at the end
/// may be smaller.
torch::Tensor block_sums(const torch::Tensor& values, const PatternShape& shape);

/// The inverse of what a block says: [out, in] of [blocks of rows, blocks of columns].
torch::Tensor spread_blocks(const torch::Tensor& blocks, const PatternShape& shape, int64_t out, int64_t in);

/// Which weights stay, bool [out, in]. `scores`: float32, of blocks as block_sums() gives them, or of each weight where
/// the pattern has a share of its own. The best stay, so that about `density` of all do; of N:M, as many of each group
/// as round(M * density), but N at least.
torch::Tensor kept_weights(const torch::Tensor& scores, const PatternShape& shape, double density, int64_t out,
                           int64_t in);

/// The same for several matrices together: the best of all stay.
std::vector<torch::Tensor> kept_of_all(const std::vector<torch::Tensor>& scores, const PatternShape& shape,
                                       double density, const std::vector<Linear>& layers);

/// Scores of each layer's blocks, of the model as it is by now; a mask variable m of one for each block:
///
/// - magnitude: the sum of squares of its weights.
/// - first_order: |dLoss/dm| = |sum of w dLoss/dw|, summed over batches; fisher: its square. Where training moves
///   weights by -dLoss/dw, that is how far (Sanh et al., movement pruning, arXiv 2005.07683).
/// - wanda: the sum of w^2 times the mean square of the input that w reads (Sun et al., arXiv 2306.11695). Needs no
///   labels.
/// - random.
///
/// Throws DataError if there is no text, or a score is not finite; Interrupted.
std::vector<torch::Tensor> block_scores(Model& model, const std::vector<Linear>& layers, const PatternShape& shape,
                                        ImportanceMethod method, const LossSource& next_loss, const BatchSource& texts,
                                        const Context& context);

/// Prunes one matrix [out, in] and moves the weights that stay so that outputs change least: column by column, an error
/// is made good by those that come after (SparseGPT, Frantar and Alistarh, arXiv 2301.00774, algorithm 1). gram:
/// float64 [in, in], sums of products of the layer's inputs. What is 0 stays 0. Which weights stay is decided for 128
/// columns at a time, `density` of them for each. Returns the new matrix.
torch::Tensor sparse_gpt(const torch::Tensor& weight, const torch::Tensor& gram, const PatternShape& shape,
                         double density, double damping);

/// sparse_gpt() of all layers, a block of the model after the other, each with the inputs that those before it give
/// when they are sparse. Throws DataError if there is no text, or what it gives is not finite; Interrupted.
void sparse_gpt_layers(Model& model, const PatternShape& shape, double density, const BatchSource& texts,
                       const Context& context);

/// The share of weights that are not 0, of all these layers together; 1 where there are none.
double density_of(const std::vector<Linear>& layers);

/// {"sparsity": {"pattern": "1x4", "density": 0.25}} of a model that has a pattern.
nlohmann::json sparsity_json(Model& model);

/// Tells pattern, density and what the zeros bring in int8 on this machine; warns where that is nothing.
void tell_sparsity(Model& model, const Context& context);

}  // namespace compression::prune
