#pragma once
// An encoder with a task's head.

#include "compress/model/encoder.h"  // Encoder
#include "compress/model/head.h"     // Head
#include "compress/train/batch.h"    // Batch

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

  ModelOutput forward(const Batch& batch, const Capture& capture = {});

  /// Normal(0, initializer_range) for matrices, 0 for biases, 1 for LayerNorm, from LibTorch's generator.
  void initialize();

  /// In place of the config's; for training. Absent: the config's.
  void set_dropout(std::optional<double> hidden, std::optional<double> attention);

  /// The form that the encoder computes in; absent: LibTorch's operators.
  void set_fused(std::optional<Arithmetic> arithmetic) { encoder->fused = arithmetic; }

  /// Whether the backward pass makes activations again, to save memory.
  void set_recompute(bool recompute) { encoder->recompute = recompute; }

  /// Throws UnsupportedError if the linear layers are quantized.
  std::vector<UnitGroup> prunable_units() override;

  const ModelConfig& config() const { return config_; }
  ModelConfig& config() { return config_; }

  /// Every linear layer but the classifier, and the embedding tables: what quantization changes.
  std::vector<Linear> linears();
  /// The same with their names in the checkpoint: "bert.encoder.layer.0.attention.self.query".
  std::vector<std::pair<std::string, Linear>> named_linears();
  std::vector<Embedding> embeddings();

  Encoder encoder{nullptr};
  std::shared_ptr<Head> head;

 private:
  ModelConfig config_;
};
TORCH_MODULE(Model);

/// The same model with weights of its own.
Model copy(const Model& model);

}  // namespace compression
