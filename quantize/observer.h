#pragma once
// From the activations of calibration texts to the scale that they are quantized with.

#include <torch/types.h>

#include <memory>

#include "quantize/config.h"  // ObserverKind

namespace compression::quantize {

struct ObserverOptions {
  ObserverKind kind = ObserverKind::mse;
  double percentile = 99.99;  // of ObserverKind::percentile
};

/// Chooses the largest magnitude that int8 activations keep; what is beyond is clipped to it.
class Observer {
 public:
  virtual ~Observer() = default;

  /// x: float32 of any shape; one batch. Throws DataError if it holds NaN or infinity.
  void add(const torch::Tensor& x);

  /// The chosen magnitude / 127; 1 where all values were 0. Throws DataError if no value was added.
  float scale() const;

 protected:
  /// x: contiguous, not empty; `largest` of its magnitudes.
  virtual void observe(const torch::Tensor& x, double largest) = 0;
  virtual double limit() const = 0;

 private:
  bool empty_ = true;
};

/// min_max: the largest magnitude. moving_average: of each batch's minimum and maximum, with the factor 0.01, as
/// PyTorch's MovingAverageMinMaxObserver: of these alone the order and the batches matter. The others choose from a
/// histogram of 4,096 bins of magnitudes, whose range is the power of two above the largest. percentile: that share of
/// the values is kept. entropy: the least Kullback-Leibler divergence of 128 levels from the histogram (Migacz, 8-bit
/// Inference with TensorRT, GTC 2017). mse: the least squared error of clipping and rounding (Banner et al., arXiv
/// 1810.05723), with values spread evenly in each bin.
std::unique_ptr<Observer> make_observer(const ObserverOptions& options);

}  // namespace compression::quantize
