#pragma once
// An encoder as a row of blocks, each of units and a linear layer that reads them; and texts on their way through.

#include <vector>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context

namespace compression::prune {

/// Attention or FFN of a layer: LayerNorm(linear(units(x)) + x).
struct Block {
  EncoderLayer layer;
  bool attention;
  bool first_tokens_only;  // of the last layer only those are read

  /// [batch, sequence, units * width()]
  torch::Tensor units(const torch::Tensor& x, const AttentionContext& context) {
    return attention ? layer->attended(x, context) : layer->units(x);
  }
  Linear& linear() { return attention ? layer->attention_output : layer->output; }
  /// What makes the units of tokens alone: where queries and keys are of relative positions too, only the values.
  std::vector<Linear> makers() const;
  LayerNorm& norm() { return attention ? layer->attention_norm : layer->output_norm; }
  int64_t width() const { return attention ? layer->head_size() : 1; }

  /// What goes into the LayerNorm.
  torch::Tensor sum(const torch::Tensor& x, const AttentionContext& context) {
    return linear()->forward(units(x, context)) + x;
  }

  /// What an error of the sum is multiplied by in the LayerNorm, but for its weight: 1 / deviation. [..., 1]
  torch::Tensor sensitivity(const torch::Tensor& sum);
};

/// In the order of computing, which is that of prunable_units(). Throws UnsupportedError if layers share weights.
std::vector<Block> blocks(Model& model);

/// A batch on its way: the input of the next block.
struct Texts {
  AttentionContext context;
  torch::Tensor x;       // [batch, sequence, hidden]
  torch::Tensor tokens;  // bool [batch, sequence]: those that are not padding
  Batch batch;

  /// Of [batch, sequence, n] the rows that count: [rows, n].
  torch::Tensor rows(const torch::Tensor& t, const Block& block) const {
    return block.first_tokens_only ? t.select(1, 0) : t.index({tokens});
  }
};

/// All batches behind the embeddings. Throws DataError if there are none; Interrupted.
std::vector<Texts> embed(Model& model, const BatchSource& source, const Context& context);

}  // namespace compression::prune
