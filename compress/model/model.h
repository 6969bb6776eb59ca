#pragma once
// An encoder with a task's head.

#include "compress/model/batch.h"    // Batch
#include "compress/model/encoder.h"  // Encoder
#include "compress/model/head.h"     // Head
#include "compress/model/packed.h"   // PackedModel

namespace compression {

struct ModelOutput {
  torch::Tensor logits;                      // float32, as the task's head says: [batch, classes]
  std::vector<torch::Tensor> hidden_states;  // as in EncoderOutput
  std::vector<torch::Tensor> attentions;
  std::vector<Projections> projections;
};

class ModelImpl : public torch::nn::Module, public Prunable {
 public:
  /// A model of the given shapes; its weights are still to be filled, or initialised.
  explicit ModelImpl(ModelConfig config);

  /// Weights of fewer bits, in evaluation mode on the CPU: computed as the fused runtime does (packed.h), without
  /// gradients, where it has kernels for the family and nothing is captured. Any number of threads may call it then, as
  /// long as nobody changes the model.
  ModelOutput forward(const Batch& batch, const Capture& capture = {});

  /// Normal(0, initializer_range) for matrices, 0 for biases and for matrices of fewer bits, 1 for LayerNorm, from
  /// LibTorch's generator.
  void initialize();

  /// In place of the config's, for training: `hidden` of the head's too. Absent: the config's.
  void set_dropout(std::optional<double> hidden, std::optional<double> attention);

  /// The form that the encoder computes in; absent: LibTorch's operators.
  void set_fused(std::optional<Arithmetic> arithmetic) { encoder->fused = arithmetic; }

  /// Whether the backward pass makes activations again, to save memory.
  void set_recompute(bool recompute) { encoder->recompute = recompute; }

  /// Whose products weights of fewer bits are multiplied with. libtorch: all is computed by LibTorch's operators, as a
  /// portable file does.
  void set_products(Products products);
  Products products() const { return products_; }

  /// Throws UnsupportedError if the linear layers are quantized.
  std::vector<UnitGroup> prunable_units() override;

  const ModelConfig& config() const { return config_; }
  ModelConfig& config() { return config_; }

  /// Every linear layer but the classifier, and the embedding tables: what quantization changes.
  std::vector<Linear> linears();
  /// Those of the blocks alone, in the order of computing: what becomes sparse.
  std::vector<Linear> block_linears();
  /// The same with their names in the checkpoint: "bert.encoder.layer.0.attention.self.query".
  std::vector<std::pair<std::string, Linear>> named_linears();
  std::vector<Embedding> embeddings();

  Encoder encoder{nullptr};
  std::shared_ptr<Head> head;

 private:
  UnitGroup unit_group(UnitKind kind, size_t index);
  bool computes_packed(const Batch& batch, const Capture& capture);
  ModelOutput forward_packed(const Batch& batch);

  ModelConfig config_;
  Products products_ = Products::ours;
  PackedModel packed_;
};
TORCH_MODULE(Model);

/// The same model with weights of its own.
Model copy(const Model& model);

}  // namespace compression
