#pragma once
// AdamW, Loshchilov and Hutter, arXiv 1711.05101: Adam with decoupled weight decay.
//
// A step on the CPU is one pass over gradients, moments and parameters, with the clipping factor in it. A parameter
// whose gradient is sparse (an embedding table) is updated by rows: those that a step does not touch are left for
// later, and are caught up before they are read, step by step, with the bits that dense steps would have given.

#include <torch/types.h>

#include <vector>

#include "compress/state_dict/state_dict.h"  // StateDict

#include "compress/kernels/adamw.h"  // AdamWStep

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

  /// The next step takes the gradients divided by `loss_scale`, and then scaled so that their norm is at most
  /// `max_norm`; 0: not. Returns their norm after the division.
  double clip(double max_norm, double loss_scale = 1.0);

  /// Brings the rows `ids` (int64, any shape) of a parameter that is updated by rows up to date; before they are read.
  void catch_up(const torch::Tensor& parameter, const torch::Tensor& ids);

  /// Brings everything up to date.
  void catch_up();

  /// Copies of the moments and step counts, by names of its own; everything is up to date then.
  StateDict state();

  /// Takes over what state() gave for parameters of the same shapes, in the same order. Throws CheckpointError if it
  /// does not fit, before anything is changed.
  void load_state(const StateDict& state);

 private:
  struct Parameter {
    torch::Tensor value, first, second;
    double weight_decay = 0.0;
    int64_t steps = 0;
    std::vector<kernels::AdamWStep> history;  // the steps since all rows were up to date
    std::vector<int64_t> seen;                // how many of them each row has; empty: all rows are up to date
  };

  kernels::AdamWStep next_step(Parameter& parameter, double learning_rate) const;
  void step_dense(Parameter& parameter, double learning_rate);
  void step_rows(Parameter& parameter, double learning_rate);
  void step_elsewhere(double learning_rate);
  void catch_up_rows(Parameter& parameter, std::vector<int64_t> rows);
  void catch_up_all(Parameter& parameter);

  AdamWOptions options_;
  std::vector<Parameter> parameters_;
  float gradient_scale_ = 1.0f;
};

}  // namespace compression
