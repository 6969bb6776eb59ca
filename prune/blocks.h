#pragma once
// An encoder as a row of blocks, each of units and a linear layer that reads them; and texts on their way through.

#include <vector>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context

namespace compression::prune {

/// Attention or FFN of a layer: norm(linear(units(x)) + x), or linear(units(norm(x))) + x.
struct Block {
  EncoderLayer layer;
  bool attention;
  bool first_tokens_only;  // of the last layer only those are read

  /// What makes the units read of a block's input.
  torch::Tensor read(const torch::Tensor& x) const {
    auto norm = this->norm();
    return layer->spec.place == NormPlace::before && norm ? norm->forward(x) : x;
  }

  /// [batch, sequence, units * width()]
  torch::Tensor units(const torch::Tensor& x, const AttentionContext& context) const {
    return attention ? layer->attended(read(x), context) : layer->units(read(x));
  }
  Linear linear() const { return layer->linear(attention ? Role::attention_output : Role::down); }
  /// What makes the units of tokens alone: where queries and keys are of relative positions too, only the values.
  std::vector<Linear> makers() const;
  LayerNorm norm() const { return layer->norm(attention ? Role::attention_norm : Role::mlp_norm); }
  int64_t width() const { return attention ? layer->head_size() : 1; }

  /// The residual with what the block adds.
  torch::Tensor sum(const torch::Tensor& x, const AttentionContext& context) {
    return linear()->forward(units(x, context)) + x;
  }

  /// The next block's input.
  torch::Tensor next(const torch::Tensor& sum) const {
    return layer->spec.place == NormPlace::after ? norm()->forward(sum) : sum;
  }

  /// What an error of the sum is multiplied by in the norm behind it, but for its weight: 1 / deviation. [..., 1]; 1
  /// where there is none.
  torch::Tensor sensitivity(const torch::Tensor& sum) const;
};

/// In the order of computing, which is that of prunable_units(). Throws UnsupportedError if layers share weights, or
/// norm what attention and FFN give.
std::vector<Block> blocks(Model& model);

/// The logits of what the last block gives.
torch::Tensor logits_of(const Model& model, const torch::Tensor& x, const Batch& batch);

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
