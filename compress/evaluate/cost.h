#pragma once
// What a model costs: counted (parameters, multiply-adds) and measured (latency, throughput).

#include <functional>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

/// Parameters of the whole model: embeddings, encoder, head. What layers share counts once.
int64_t parameter_count(const ModelConfig& config);

/// Multiply-adds of the encoder's layers for one text of `length` tokens: projections, attention (query by key,
/// probabilities by value; keys and queries of relative positions, and by these) and FFN. Embeddings and head are not
/// in it.
int64_t encoder_macs(const ModelConfig& config, int64_t length);

struct Timing {
  double median_ms = 0.0;
  double low_ms = 0.0, high_ms = 0.0;  // 10th and 90th percentile
  int64_t runs = 0;
};

/// Calls `work` a few times to warm up, then until `seconds` are over and at least `least` times.
Timing measure(const std::function<void()>& work, double seconds, int64_t least = 5);

}  // namespace compression
