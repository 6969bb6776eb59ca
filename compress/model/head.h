#pragma once
// What makes a task's logits of the encoder's output.

#include <memory>
#include <vector>

#include "compress/model/batch.h"    // Batch
#include "compress/model/encoder.h"  // EncoderOutput, Capture

namespace compression {

class Head : public torch::nn::Module {
 public:
  explicit Head(const ModelConfig& config);

  /// What the encoder has to return besides the first tokens.
  virtual Capture needs() const { return {}; }

  /// The task's logits, float32; their shape is the task's.
  virtual torch::Tensor forward(const EncoderOutput& encoded, const Batch& batch) = 0;

  /// The linear layers that quantization changes: all but the classifier, which is small.
  virtual std::vector<Linear> linears() { return {}; }

  /// In place of every dropout that the config asks for; absent: the config's.
  virtual void set_dropout(std::optional<double> value) { dropout = value.value_or(config_dropout_); }

  Linear classifier{nullptr};  // [labels, hidden]: what is new for a new task; null for tasks without one
  double dropout;              // before the classifier

 protected:
  void make_classifier(int64_t in, int64_t labels);

 private:
  double config_dropout_;
};

/// One label a text, a number or several labels, from its first token or the mean of all: dropout, a dense layer, an
/// activation, a norm, dropout, the classifier, as HeadOptions says. Logits: [batch, labels].
class SequenceHead : public Head {
 public:
  explicit SequenceHead(const ModelConfig& config);

  Capture needs() const override { return {.last_hidden_state = mean}; }
  torch::Tensor forward(const EncoderOutput& encoded, const Batch& batch) override;
  std::vector<Linear> linears() override { return {dense}; }
  void set_dropout(std::optional<double> value) override;

  /// What the dense layer reads of the last hidden states [batch, sequence, hidden]: [batch, hidden].
  torch::Tensor read(const torch::Tensor& states, const Batch& batch) const;

  /// What the classifier reads of that, without dropout.
  torch::Tensor pooled(const torch::Tensor& text);

  Linear dense{nullptr};
  LayerNorm norm{nullptr};  // may be null
  const Activation activation;
  std::optional<double> first_dropout;  // before the dense layer, where it is another one
  const bool mean;                      // reads the mean of the tokens

 private:
  std::optional<double> config_first_dropout_;
};

/// A label a token: a dense layer, an activation and a norm where HeadOptions ask for them, dropout, the classifier.
/// Logits: [batch, sequence, labels]. Of question answering the labels are start and end, without dropout.
class TokenHead : public Head {
 public:
  explicit TokenHead(const ModelConfig& config);

  Capture needs() const override { return {.last_hidden_state = true}; }
  torch::Tensor forward(const EncoderOutput& encoded, const Batch& batch) override;
  std::vector<Linear> linears() override;
  void set_dropout(std::optional<double> value) override;

  Linear dense{nullptr};    // may be null
  LayerNorm norm{nullptr};  // may be null
  const Activation activation;

 private:
  bool spans_;
};

/// Masked language modelling (BERT, arXiv 1810.04805): a dense layer, an activation, LayerNorm, and the products with
/// the embeddings of all words, which are the encoder's own. Logits: [batch, sequence, vocabulary]; of a batch with
/// labels only those of its labelled tokens, [labelled tokens, vocabulary], in their order.
class MaskedLmHead : public Head {
 public:
  MaskedLmHead(const ModelConfig& config, Embedding words);

  Capture needs() const override { return {.last_hidden_state = true}; }
  torch::Tensor forward(const EncoderOutput& encoded, const Batch& batch) override;
  std::vector<Linear> linears() override { return {dense}; }

  /// The logits of what the dense layer and the activation have made, [batch, sequence, the embeddings' width].
  torch::Tensor words(const torch::Tensor& hidden, const Batch& batch);

  Linear dense{nullptr};  // to the width of the embeddings
  LayerNorm norm{nullptr};
  torch::Tensor bias;  // float32 [vocabulary]
  const Activation activation;

 private:
  torch::Tensor of_hidden(const torch::Tensor& hidden);

  Embedding words_;  // the encoder's: not registered here
};

/// A vector a text (Sentence-BERT, arXiv 1908.10084): the last hidden states of tokens that are not padding, pooled,
/// and what EmbeddingOptions say after that. "Logits": [batch, width]. Its linear layers stay float32, as classifiers
/// do.
class EmbeddingHead : public Head {
 public:
  /// Throws UnsupportedError for modules that we do not have, CheckpointError for steps that do not fit,
  /// std::invalid_argument for no pooling.
  explicit EmbeddingHead(const ModelConfig& config);

  Capture needs() const override;
  torch::Tensor forward(const EncoderOutput& encoded, const Batch& batch) override;

  const EmbeddingOptions options;
  std::vector<Linear> dense;  // one a step; null where it is no linear layer. Registered as dense_0, dense_1, ...

  static constexpr double smallest_norm = 1e-12;
  static constexpr double smallest_weight = 1e-9;  // what sums over tokens are divided by at least
};

/// The head that the config asks for.
std::shared_ptr<Head> make_head(const ModelConfig& config, const EncoderImpl& encoder);

}  // namespace compression
