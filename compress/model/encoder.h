#pragma once
// The transformer encoder, a shape per layer. BERT as in Devlin et al., arXiv 1810.04805, post-LayerNorm.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "compress/model/config.h"  // ModelConfig
#include "compress/model/layers.h"  // Linear, Embedding, LayerNorm, Arithmetic
#include "compress/model/units.h"   // UnitGroup

namespace compression {

/// What to return besides the result. Attention maps need the explicit form of attention, which is slower.
struct Capture {
  bool hidden_states = false;
  bool attentions = false;
  bool last_hidden_state = false;
};

struct EncoderOutput {
  torch::Tensor first;                       // [batch, hidden]: the last layer's output for the first tokens
  torch::Tensor last_hidden_state;           // [batch, sequence, hidden]; may be undefined where Capture asks for none
  std::vector<torch::Tensor> hidden_states;  // the embeddings, then each layer's output
  std::vector<torch::Tensor> attentions;     // each layer's probabilities [batch, heads, query, key]
};

/// Words, positions and segments, summed and normalised.
class EmbeddingsImpl : public torch::nn::Module {
 public:
  explicit EmbeddingsImpl(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& input_ids, const torch::Tensor& token_type_ids);

  /// Throws UnsupportedError if the model has no positions for texts of `length` tokens.
  void check_length(int64_t length) const;

  Embedding word_embeddings{nullptr}, position_embeddings{nullptr}, token_type_embeddings{nullptr};
  LayerNorm norm{nullptr};
  double dropout;
};
TORCH_MODULE(Embeddings);

/// Self-attention and FFN, each with residual and LayerNorm.
class EncoderLayerImpl : public torch::nn::Module {
 public:
  EncoderLayerImpl(const ModelConfig& config, const LayerShape& shape);

  /// x: [batch, sequence, hidden]; mask: added to the attention scores, [batch, 1, 1, key], or undefined.
  /// `attentions`: where to put the probabilities, or null.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask, std::vector<torch::Tensor>* attentions);

  Linear query{nullptr}, key{nullptr}, value{nullptr}, attention_output{nullptr};
  Linear intermediate{nullptr}, output{nullptr};
  LayerNorm attention_norm{nullptr}, output_norm{nullptr};

  int64_t heads, head_size;
  std::string activation;
  double hidden_dropout, attention_dropout;
  torch::Tensor head_mask;          // float32 [heads], or undefined
  torch::Tensor intermediate_mask;  // float32 [intermediate], or undefined

 private:
  torch::Tensor attention(const torch::Tensor& x, const torch::Tensor& mask, std::vector<torch::Tensor>* attentions);
};
TORCH_MODULE(EncoderLayer);

class EncoderImpl : public torch::nn::Module {
 public:
  explicit EncoderImpl(const ModelConfig& config);

  /// int64 [batch, sequence] each; token_type_ids may be undefined. Throws UnsupportedError if the sequence is longer
  /// than the model's positions. Computes in the fused form where `fused` asks for it and fused.h can.
  EncoderOutput forward(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                        const torch::Tensor& token_type_ids, const Capture& capture = {});

  Embeddings embeddings{nullptr};
  std::vector<EncoderLayer> layers;
  std::optional<Arithmetic> fused;  // how the fused form computes; absent: LibTorch's operators
  bool recompute = false;           // the backward pass makes a layer's activations again from its input
};
TORCH_MODULE(Encoder);

}  // namespace compression
