#include "compress/evaluate/cost.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace compression {

int64_t parameter_count(const ModelConfig& config) {
  const auto hidden = config.hidden_size;
  const auto linear = [](int64_t in, int64_t out) { return in * out + out; };
  const auto norm = 2 * hidden;
  int64_t count = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * hidden + norm;
  for (const auto& layer : config.layers) {
    const auto width = layer.num_attention_heads * config.attention_head_size;
    count += 3 * linear(hidden, width) + linear(width, hidden) + norm;
    count += linear(hidden, layer.intermediate_size) + linear(layer.intermediate_size, hidden) + norm;
  }
  return count + linear(hidden, hidden) + linear(hidden, static_cast<int64_t>(config.labels.size()));
}

int64_t encoder_macs(const ModelConfig& config, int64_t length) {
  int64_t macs = 0;
  for (const auto& layer : config.layers) {
    const auto width = layer.num_attention_heads * config.attention_head_size;
    macs += length * (4 * config.hidden_size * width + 2 * config.hidden_size * layer.intermediate_size);
    macs += 2 * length * length * width;
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
  const auto at = [&](double share) {
    return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9), static_cast<int64_t>(times.size())};
}

}  // namespace compression
