#pragma once
// Hidden dimensions: the width of the residual stream, which all layers share.

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context
#include "prune/config.h"                // ScoreConfig

namespace compression::prune {

/// A score for each hidden dimension: float32 [hidden] on the CPU. first_order and fisher are of a mask of the hidden
/// states, the embeddings' and every layer's, as CoFi's (Xia et al., arXiv 2204.00408); magnitude is the length of all
/// weights of the dimension. The loss is on the task's labels. Throws DataError if there is no text;
/// std::invalid_argument for another method; Interrupted.
torch::Tensor hidden_scores(Model& model, const BatchSource& source, const Context& context, ImportanceMethod method,
                            bool per_text = false);

/// The model with these hidden dimensions alone. LayerNorm is over what is left, so that the result computes something
/// else, even if those that go are zero: it wants training. kept: int64 [dimensions], ascending.
Model keep_hidden(const Model& model, const torch::Tensor& kept);

}  // namespace compression::prune
