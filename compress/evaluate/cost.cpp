#include "compress/evaluate/cost.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "compress/base/quantile.h"             // quantile
#include "compress/model/relative_positions.h"  // relative_rows

namespace compression {

namespace {

/// How many of content to position and position to content there are.
int64_t position_terms(const EncoderOptions& encoder) {
  return (encoder.content_to_position ? 1 : 0) + (encoder.position_to_content ? 1 : 0);
}

}  // namespace

int64_t parameter_count(const ModelConfig& config) {
  const auto hidden = config.hidden_size;
  const auto linear = [](int64_t in, int64_t out) { return in * out + out; };
  const auto norm = 2 * hidden;
  const auto& encoder = config.encoder;
  const auto positions = encoder.position_embeddings ? config.max_position_embeddings : 0;
  int64_t count = (config.vocab_size + positions + config.type_vocab_size + 2) * config.embedding_size();
  if (encoder.embedding_projection) count += linear(config.embedding_size(), hidden);
  count += encoder.relative_rows * (encoder.relative == RelativeAttention::bias ? encoder.bias_heads : hidden);
  if (encoder.relative_norm) count += norm;
  const auto own_projections = encoder.own_position_projections ? position_terms(encoder) : 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (config.first_use(i) < i) continue;
    const auto& layer = config.layers[i];
    const auto width = layer.num_attention_heads * config.attention_head_size;
    count += (3 + own_projections) * linear(hidden, width) + linear(width, hidden) + norm;
    count += linear(hidden, layer.intermediate_size) + linear(layer.intermediate_size, hidden) + norm;
  }
  switch (traits_of(config.task).head) {
    case HeadKind::text:
      return count + linear(hidden, hidden) + linear(hidden, static_cast<int64_t>(config.labels.size()));
    case HeadKind::tokens:
      return count + linear(hidden, static_cast<int64_t>(config.labels.size()));
    case HeadKind::spans:
      return count + linear(hidden, 2);
    case HeadKind::words:
      return count + linear(hidden, config.embedding_size()) + 2 * config.embedding_size() + config.vocab_size;
    case HeadKind::embedding:
      for (const auto& step : config.embedding.steps) {
        if (step.dense) count += step.in * step.out + (step.bias ? step.out : 0);
      }
      break;
  }
  return count;
}

int64_t encoder_macs(const ModelConfig& config, int64_t length) {
  int64_t macs = 0;
  int64_t rows = 0;  // of the table of relative positions, as keys or queries
  if (position_terms(config.encoder) > 0) {
    const auto used = relative_rows(config.encoder, length);
    rows = position_terms(config.encoder) * (used.max() - used.min() + 1).item<int64_t>();
  }
  for (const auto& layer : config.layers) {
    const auto width = layer.num_attention_heads * config.attention_head_size;
    macs += length * (4 * config.hidden_size * width + 2 * config.hidden_size * layer.intermediate_size);
    macs += 2 * length * length * width;
    macs += rows * width * (config.hidden_size + length);
  }
  return macs;
}

Timing measure(const std::function<void()>& work, double seconds, int64_t least) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto warm_up = Clock::now();
  for (int i = 0; i < 3 && (i == 0 || since(warm_up) < seconds); ++i) work();
  std::vector<double> times;
  for (const auto start = Clock::now(); since(start) < seconds || static_cast<int64_t>(times.size()) < least;) {
    const auto before = Clock::now();
    work();
    times.push_back(since(before) * 1e3);
  }
  std::sort(times.begin(), times.end());
  return {quantile(times, 0.5), quantile(times, 0.1), quantile(times, 0.9), static_cast<int64_t>(times.size())};
}

}  // namespace compression
