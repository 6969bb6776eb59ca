#pragma once
// A stack of blocks, each with a description of its own (compress/spec/block.h): BERT (Devlin et al., arXiv
// 1810.04805), and what the description makes of it.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>
#include <utility>
#include <vector>

#include "compress/model/layers.h"              // Linear, Embedding, LayerNorm, Arithmetic
#include "compress/model/relative_positions.h"  // RelativeTable
#include "compress/model/units.h"               // UnitGroup
#include "compress/spec/config.h"               // ModelConfig
#include "compress/spec/weights.h"              // Role

namespace compression {

/// What to return besides the result. Attention maps need the explicit form of attention, which is slower.
struct Capture {
  bool hidden_states = false;
  bool attentions = false;
  bool last_hidden_state = false;
  bool projections = false;

  /// What either asks for.
  Capture& operator|=(const Capture& other) {
    hidden_states |= other.hidden_states;
    attentions |= other.attentions;
    last_hidden_state |= other.last_hidden_state;
    projections |= other.projections;
    return *this;
  }
};

/// Queries, keys and values of all heads: [batch, sequence, heads * head size] each.
struct Projections {
  torch::Tensor query, key, value;
};

struct EncoderOutput {
  torch::Tensor first;                       // [batch, hidden]: the last layer's output for the first tokens
  torch::Tensor last_hidden_state;           // [batch, sequence, hidden]; may be undefined where Capture asks for none
  std::vector<torch::Tensor> hidden_states;  // the embeddings, then each layer's output
  std::vector<torch::Tensor> attentions;     // each layer's probabilities [batch, heads, query, key]; cross-attention's
                                             // behind them
  std::vector<Projections> projections;      // each layer's
};

/// Words, positions and segments, summed and normalised, as InputSpec says; then made as wide as the blocks where they
/// are not.
class EmbeddingsImpl : public torch::nn::Module {
 public:
  /// `words`: the table of another stack, which this one reads too.
  explicit EmbeddingsImpl(const ModelConfig& config, const Embedding& words = nullptr);

  /// attention_mask and token_type_ids may be undefined. places: int64 [sequence], or [batch, sequence]; from 0 where
  /// undefined.
  torch::Tensor forward(const torch::Tensor& input_ids, const torch::Tensor& token_type_ids,
                        const torch::Tensor& attention_mask = {}, const torch::Tensor& places = {});

  /// Throws UnsupportedError if the model has no positions for texts of `length` tokens.
  void check_length(int64_t length) const;

  /// The tables that there are.
  std::vector<Embedding> tables() const;

  Embedding word_embeddings{nullptr};
  Embedding position_embeddings{nullptr}, token_type_embeddings{nullptr};  // may be null
  LayerNorm norm{nullptr};                                                 // may be null
  Linear projection{nullptr};                                              // may be null
  double dropout;
  const InputSpec spec;
  const int64_t max_length;
  const int64_t padding_position;  // positions count from it, and padding has it; -1: they count all tokens
};
TORCH_MODULE(Embeddings);

/// Whether a text's first token has the mask 0. attention_mask may be undefined.
bool masks_first(const torch::Tensor& attention_mask);

/// What cross-attention reads: what another stack gives, [batch, its sequence, hidden], and the mask of its padding,
/// [batch, 1, 1, its sequence], or undefined.
struct Memory {
  torch::Tensor states = {}, mask = {};
};

/// What a decoder keeps of the tokens that it has read: the keys and values of each block, so that the next ones need
/// not be computed with them again.
struct KeyValueCache {
  struct Block {
    torch::Tensor keys, values;  // [batch, key-value heads, tokens, head size]; undefined where there are none
  };
  std::vector<Block> blocks = {};
  int64_t length = 0;  // tokens
};

/// What attention takes besides the tokens.
struct AttentionContext {
  torch::Tensor mask = {};  // added to the scores, [batch, 1, 1 or query, key], or undefined; of cached keys too
  Memory memory = {};
  RelativeTable relative{nullptr};
  RelativePairs pairs;
  int64_t length = 0;                     // of the sequences
  int64_t past = 0;                       // tokens before them, whose keys and values are in `cache`
  KeyValueCache::Block* cache = nullptr;  // the block's, which those of the sequences are added to; or null
  torch::Device device = torch::kCPU;

  /// Of all keys, from 0: int64 [key]. Queries have the last ones.
  torch::Tensor places() const;

  /// The mask with that of the tokens which are too far away, or behind the query.
  torch::Tensor mask_of(const AttentionSpec& attention) const;
};

/// Self-attention, cross-attention where BlockSpec has it, and FFN, each with its norms and a residual.
class EncoderLayerImpl : public torch::nn::Module {
 public:
  EncoderLayerImpl(const ModelConfig& config, const BlockSpec& spec);

  /// x: [batch, sequence, hidden]. What `capture` asks for of the attention is appended to `out`. The mathematics is in
  /// block_math.h.
  torch::Tensor forward(const torch::Tensor& x, const AttentionContext& context, const Capture& capture,
                        EncoderOutput& out) const;

  /// What attention_output reads: the heads' results, masked, [batch, sequence, heads * head_size]. x: what queries,
  /// keys and values are made of.
  torch::Tensor attended(const torch::Tensor& x, const AttentionContext& context) const;

  /// What output reads: the FFN units, masked, [batch, sequence, units].
  torch::Tensor units(const torch::Tensor& x) const;

  /// Tells the layer that its tensors were cut to these of its units.
  void keep_units(UnitKind kind, const std::vector<int64_t>& kept);

  /// Those that block_weights() lists (compress/spec/weights.h); null where the block has none of the role.
  Linear linear(Role role) const;
  LayerNorm norm(Role role) const;

  /// Every linear layer that there is, in that order.
  std::vector<Linear> linears() const;

  BlockSpec spec;
  const RelativeSpec relative;
  double hidden_dropout, attention_dropout;
  torch::Tensor head_mask;          // float32 [heads], or [batch, heads] with a mask a text; or undefined
  torch::Tensor intermediate_mask;  // float32 [units] or [batch, units], or undefined

  int64_t heads() const { return spec.attention.heads; }
  int64_t head_size() const { return spec.attention.head_size; }

  double score_scale() const { return spec.attention.score_scale(relative.terms()); }

 private:
  std::vector<std::pair<Role, Linear>> linears_;
  std::vector<std::pair<Role, LayerNorm>> norms_;
};
TORCH_MODULE(EncoderLayer);

class EncoderImpl : public torch::nn::Module {
 public:
  /// The stack of config.layers. `words`: the table of another stack, which this one reads too.
  explicit EncoderImpl(const ModelConfig& config, const Embedding& words = nullptr);

  /// int64 [batch, sequence] each; token_type_ids may be undefined. `memory` is for blocks with cross-attention. Throws
  /// UnsupportedError if the sequence is longer than the model's positions. Computes in the fused form where `fused`
  /// asks for it and fused.h can.
  EncoderOutput forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                        const torch::Tensor& token_type_ids, const Capture& capture = {}, const Memory& memory = {});

  /// The states of tokens that follow those of `cache`, to which it adds them: [batch, sequence, hidden]. Of a stack
  /// whose attention is causal. attention_mask: int64 [batch, cached and new tokens], or undefined; texts begin behind
  /// their padding, which stands before them. Throws UnsupportedError if both together are longer than the model's
  /// positions.
  torch::Tensor forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask, KeyValueCache& cache);

  /// What the layers' attention takes besides `input_ids` [batch, sequence].
  AttentionContext attention_context(const torch::Tensor& input_ids, const torch::Tensor& attention_mask);

  Embeddings embeddings{nullptr};
  RelativeTable relative{nullptr};   // may be null
  LayerNorm final_norm{nullptr};     // may be null
  std::vector<EncoderLayer> layers;  // in the order of computing; one that shares its weights is there again
  std::optional<Arithmetic> fused;   // how the fused form computes; absent: LibTorch's operators
  bool recompute = false;            // the backward pass makes a layer's activations again from its input
};
TORCH_MODULE(Encoder);

}  // namespace compression
