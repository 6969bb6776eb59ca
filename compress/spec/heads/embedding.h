#pragma once

#include <fmt/format.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "compress/base/error.h"  // CheckpointError, UnsupportedError
#include "compress/spec/head.h"   // AnyHead

namespace compression {

/// A vector a text (Sentence-BERT, arXiv 1908.10084): the last hidden states of tokens that are not padding, pooled,
/// and what EmbeddingOptions say after that. "Logits": [batch, width].
struct EmbeddingHead : AnyHead {
  static constexpr double smallest_norm = 1e-12;   // that a vector is divided by
  static constexpr double smallest_weight = 1e-9;  // what sums over tokens are divided by at least

  static bool reads_first(const ModelConfig& config) {
    return config.embedding.pooling == std::vector<Pooling>{Pooling::cls};
  }

  /// Throws UnsupportedError for modules that we do not have, CheckpointError for steps that do not fit,
  /// std::invalid_argument for no pooling.
  static void check(const ModelConfig& config) {
    const auto& options = config.embedding;
    if (!options.unsupported.empty()) throw UnsupportedError(options.unsupported);
    if (options.pooling.empty()) throw std::invalid_argument("an embedding without a pooling");
    int64_t width = config.pooled_width();
    for (const auto& step : options.steps) {
      if (!step.dense) continue;
      if (step.in != width) {
        throw CheckpointError(
            fmt::format("a dense module of {} features, expected {}: those of the vector before it", step.in, width));
      }
      width = step.out;
    }
  }

  static void list(WeightList& weights) {
    const auto& config = weights.config;
    Axis in{.label = Label::hidden,
            .size = config.pooled_width(),
            .repeats = static_cast<int64_t>(config.embedding.pooling.size())};
    for (size_t i = 0; i < config.embedding.steps.size(); ++i) {
      const auto& step = config.embedding.steps[i];
      if (!step.dense) continue;
      in.size = step.in;
      const Axis out{.label = Label::step, .size = step.out};
      weights.linear(Role::head_step, dense_name(i), out, in, step.bias);
      in = out;
    }
  }

  template <class Ops>
  static auto logits(Ops& ops) {
    const auto& options = ops.config().embedding;
    auto x = pooled(ops);
    for (size_t i = 0; i < options.steps.size(); ++i) {
      const auto& step = options.steps[i];
      x = step.dense ? ops.activated(ops.linear(dense_name(i), x), step.activation)
                     : x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(smallest_norm);
    }
    return x;
  }

 private:
  static std::string dense_name(size_t step) { return fmt::format("dense_{}", step); }

  /// All poolings' vectors, which follow each other.
  template <class Ops>
  static typename Ops::Value pooled(Ops& ops) {
    if (ops.has_first_alone()) return ops.as_float(ops.first());
    const auto states = ops.as_float(ops.states()), mask = ops.mask(states);
    std::vector<typename Ops::Value> parts;
    for (const auto pooling : ops.config().embedding.pooling) parts.push_back(pooled(ops, pooling, states, mask));
    return parts.size() == 1 ? parts.front() : ops.joined(parts);
  }

  /// states: float32 [batch, sequence, hidden]; mask: float32 [batch, sequence]. [batch, hidden]
  template <class Ops, class Value>
  static Value pooled(Ops& ops, Pooling pooling, const Value& states, const Value& mask) {
    const auto real = mask.unsqueeze(-1);
    const auto mean_by = [&](const Value& weights) {
      return (states * weights).sum(1) / weights.sum(1).clamp_min(smallest_weight);
    };
    const auto token = [&](const Value& position) {
      const auto index = position.view({-1, 1, 1}).expand({-1, 1, ops.config().hidden_size});
      return states.gather(1, index).squeeze(1);
    };
    switch (pooling) {
      case Pooling::cls:
        return token(mask.argmax(1));
      case Pooling::max:
        return states.masked_fill(real.eq(0), std::numeric_limits<float>::lowest()).amax(1);
      case Pooling::mean:
        return mean_by(real);
      case Pooling::mean_sqrt_len_tokens:
        return (states * real).sum(1) / real.sum(1).clamp_min(smallest_weight).sqrt();
      case Pooling::weightedmean: {  // places count from the first token
        const auto before = ops.as_float(mask.argmax(1, /*keepdim=*/true));
        return mean_by(((ops.places() - before) * mask).unsqueeze(-1));
      }
      case Pooling::lasttoken:
        return token((ops.places() * mask).argmax(1));
    }
    throw std::logic_error("pooling");
  }
};

}  // namespace compression
