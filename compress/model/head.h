#pragma once
// What makes a task's logits of the encoder's output. Heads of other tasks derive from Head and are made in
// make_head().

#include <memory>
#include <vector>

#include "compress/model/encoder.h"  // EncoderOutput, Capture

namespace compression {

class Head : public torch::nn::Module {
 public:
  explicit Head(const ModelConfig& config);

  /// What the encoder has to return besides the first tokens.
  virtual Capture needs() const { return {}; }

  /// The task's logits, float32; their shape is the task's.
  virtual torch::Tensor forward(const EncoderOutput& encoded) = 0;

  /// The linear layers that quantization changes: all but the classifier, which is small.
  virtual std::vector<Linear> linears() { return {}; }

  /// Normal(0, initializer_range) for the classifier, 0 for its bias, from LibTorch's generator.
  void initialize_classifier();

  Linear classifier{nullptr};  // [labels, hidden]: what is new for a new task
  double dropout;              // before the classifier

 private:
  double initializer_range_;
};

/// One label a text, from its first token: dropout, a dense layer, an activation, dropout, the classifier, as
/// HeadOptions says. Logits: [batch, labels].
class SequenceHead : public Head {
 public:
  explicit SequenceHead(const ModelConfig& config);

  torch::Tensor forward(const EncoderOutput& encoded) override;
  std::vector<Linear> linears() override { return {dense}; }

  Linear dense{nullptr};
  const std::string activation;

 private:
  std::optional<double> first_dropout_;
};

/// The head that the config asks for.
std::shared_ptr<Head> make_head(const ModelConfig& config);

}  // namespace compression
