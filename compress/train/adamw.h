#pragma once
// AdamW, Loshchilov and Hutter, arXiv 1711.05101: Adam with decoupled weight decay.

#include <torch/types.h>

#include <vector>

#include "compress/checkpoint/checkpoint.h"  // StateDict

namespace compression {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // of parameters with two or more dimensions; biases and LayerNorm are not decayed
};

class AdamW {
 public:
  AdamW(const std::vector<torch::Tensor>& parameters, const AdamWOptions& options);

  /// One step with the gradients that are there; a parameter without one is left alone.
  void step(double learning_rate);

  void zero_grad();

  /// Scales all gradients so that their norm is at most `max_norm`; 0: leaves them. Returns the norm that they had.
  double clip(double max_norm);

  /// Copies of the moments and step counts, by names of its own.
  StateDict state() const;

  /// Takes over what state() gave for parameters of the same shapes, in the same order. Throws CheckpointError if it
  /// does not fit, before anything is changed.
  void load_state(const StateDict& state);

 private:
  struct Group {
    double weight_decay;
    std::vector<torch::Tensor> parameters, first, second, steps;
  };
  StateDict tensors() const;  // what state() copies
  AdamWOptions options_;
  std::vector<Group> groups_;
};

}  // namespace compression
