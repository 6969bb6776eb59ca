#pragma once
// The transformer encoder, a shape per layer: BERT (Devlin et al., arXiv 1810.04805), post-LayerNorm, and what
// EncoderOptions makes of it.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "compress/model/layers.h"              // Linear, Embedding, LayerNorm, Arithmetic
#include "compress/model/relative_positions.h"  // RelativeTable
#include "compress/model/units.h"               // UnitGroup
#include "compress/spec/config.h"               // ModelConfig

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
  std::vector<torch::Tensor> attentions;     // each layer's probabilities [batch, heads, query, key]
  std::vector<Projections> projections;      // each layer's
};

/// Words, positions and segments, summed and normalised; then made as wide as the layers where they are not.
class EmbeddingsImpl : public torch::nn::Module {
 public:
  explicit EmbeddingsImpl(const ModelConfig& config);

  /// attention_mask and token_type_ids may be undefined.
  torch::Tensor forward(const torch::Tensor& input_ids, const torch::Tensor& token_type_ids,
                        const torch::Tensor& attention_mask = {});

  /// Throws UnsupportedError if the model has no positions for texts of `length` tokens.
  void check_length(int64_t length) const;

  /// The tables that there are.
  std::vector<Embedding> tables() const;

  Embedding word_embeddings{nullptr};
  Embedding position_embeddings{nullptr}, token_type_embeddings{nullptr};  // may be null
  LayerNorm norm{nullptr};
  Linear projection{nullptr};  // may be null
  double dropout;
  const int64_t max_length;
  const int64_t padding_position;  // positions count from it, and padding has it; -1: they count all tokens from 0
  const bool masks_queries;        // as in EncoderOptions
};
TORCH_MODULE(Embeddings);

/// Whether a text's first token has the mask 0. attention_mask may be undefined.
bool masks_first(const torch::Tensor& attention_mask);

/// What attention takes besides the tokens.
struct AttentionContext {
  torch::Tensor mask;  // added to the scores, [batch, 1, 1 or query, key], or undefined
  RelativeTable relative{nullptr};
  RelativePairs pairs;
};

/// Self-attention and FFN, each with residual and LayerNorm.
class EncoderLayerImpl : public torch::nn::Module {
 public:
  EncoderLayerImpl(const ModelConfig& config, const LayerShape& shape);

  /// x: [batch, sequence, hidden]. What `capture` asks for of the attention is appended to `out`.
  torch::Tensor forward(const torch::Tensor& x, const AttentionContext& context, const Capture& capture,
                        EncoderOutput& out);

  /// What attention_output reads: the heads' results, masked, [batch, sequence, heads * head_size].
  torch::Tensor attended(const torch::Tensor& x, const AttentionContext& context, const Capture& capture,
                         EncoderOutput& out);
  torch::Tensor attended(const torch::Tensor& x, const AttentionContext& context) {
    EncoderOutput none;
    return attended(x, context, {}, none);
  }

  /// What output reads: the FFN units, masked, [batch, sequence, intermediate]. x: what attention_norm makes.
  torch::Tensor units(const torch::Tensor& x);

  /// Tells the layer that its tensors were cut to these heads.
  void keep_heads(const std::vector<int64_t>& kept);

  /// Every linear layer that there is.
  std::vector<Linear> linears() const;

  Linear query{nullptr}, key{nullptr}, value{nullptr}, attention_output{nullptr};
  Linear intermediate{nullptr}, output{nullptr};
  Linear position_key{nullptr}, position_query{nullptr};  // disentangled with projections of its own; may be null
  LayerNorm attention_norm{nullptr}, output_norm{nullptr};

  int64_t heads, head_size;
  std::vector<int64_t> position_heads;  // as in LayerShape
  const EncoderOptions options;
  Activation activation;
  double hidden_dropout, attention_dropout;
  torch::Tensor head_mask;          // float32 [heads], or [batch, heads] with a mask a text; or undefined
  torch::Tensor intermediate_mask;  // float32 [intermediate] or [batch, intermediate], or undefined

  /// What the scores are multiplied by: 1 / sqrt(head size x terms that are added up in them).
  double score_scale() const;

 private:
  torch::Tensor relative_scores(const torch::Tensor& q, const torch::Tensor& k, const AttentionContext& context);
  torch::Tensor split_heads(const torch::Tensor& x) const;
};
TORCH_MODULE(EncoderLayer);

class EncoderImpl : public torch::nn::Module {
 public:
  explicit EncoderImpl(const ModelConfig& config);

  /// int64 [batch, sequence] each; token_type_ids may be undefined. Throws UnsupportedError if the sequence is longer
  /// than the model's positions. Computes in the fused form where `fused` asks for it and fused.h can.
  EncoderOutput forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                        const torch::Tensor& token_type_ids, const Capture& capture = {});

  /// What the layers' attention takes besides `input_ids` [batch, sequence].
  AttentionContext attention_context(const torch::Tensor& input_ids, const torch::Tensor& attention_mask);

  Embeddings embeddings{nullptr};
  RelativeTable relative{nullptr};   // may be null
  std::vector<EncoderLayer> layers;  // in the order of computing; one that shares its weights is there again
  std::optional<Arithmetic> fused;   // how the fused form computes; absent: LibTorch's operators
  bool recompute = false;            // the backward pass makes a layer's activations again from its input
};
TORCH_MODULE(Encoder);

}  // namespace compression
