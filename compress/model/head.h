#pragma once
// What makes a task's logits of the encoder's output. The heads themselves are in compress/spec/heads/.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/model/batch.h"    // Batch
#include "compress/model/encoder.h"  // EncoderOutput, Capture
#include "compress/spec/head.h"      // RuntimePart

namespace compression {

class Head : public torch::nn::Module {
 public:
  /// `words`: the encoder's table. Throws what the head's check() does.
  Head(const ModelConfig& config, Embedding words);

  /// Whether it reads each text's first token alone, not all last hidden states.
  bool reads_first() const;

  /// The task's logits, float32; their shape is the task's.
  torch::Tensor forward(const EncoderOutput& encoded, const Batch& batch);

  /// The logits of what the runtime gives, which is not all of them: last hidden states, or what RuntimePart::dense
  /// made.
  torch::Tensor behind_runtime(const torch::Tensor& states, const Batch& batch);

  /// The linear layers that quantization changes: all but the last, which are small.
  std::vector<Linear> linears() const;

  /// In place of every dropout that the config asks for; absent: the config's.
  void set_dropout(std::optional<double> value);

  HeadKind kind() const { return traits_of(config.task).head; }
  RuntimePart in_runtime() const;

  const ModelConfig config;                // what it was made of
  std::map<std::string, Linear> layers;    // by the names that compress/spec/heads/ has
  std::map<std::string, LayerNorm> norms;  // the same
  torch::Tensor bias;                      // of the words, float32 [vocabulary]; or undefined
  Linear classifier{nullptr};              // [labels, hidden]: what is new for a new task; null for tasks without one
  Embedding words;                         // the encoder's: not registered here
  double dropout = 0.0;                    // before the classifier
  std::optional<double> first_dropout;     // before the dense layer, where it is another one
};

}  // namespace compression
