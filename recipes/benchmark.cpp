#include "recipes/benchmark.h"

#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "compress/evaluate/instances.h"  // run_instances

namespace compression::recipes {
namespace {

using Clock = std::chrono::steady_clock;

Batch random_texts(const Runnable& model, int64_t batch, int64_t length) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
  const auto ids = torch::randint(0, model.tokenizer->usable_ids(), {batch, length}, generator, torch::kLong);
  return text_batch(ids, torch::ones_like(ids), torch::zeros_like(ids)).to(model.device);
}

/// Calls a second between the last instance's first end and the first instance's last one.
double calls_per_second(const std::vector<std::vector<Clock::time_point>>& ends) {
  auto from = ends.front().front(), to = ends.front().back();
  for (const auto& own : ends) {
    from = std::max(from, own.front());
    to = std::min(to, own.back());
  }
  if (to <= from) {  // they took turns: all of their time
    for (const auto& own : ends) {
      from = std::min(from, own.front());
      to = std::max(to, own.back());
    }
  }
  int64_t calls = 0;
  for (const auto& own : ends) {
    calls += std::ranges::count_if(own, [&](Clock::time_point end) { return from < end && end <= to; });
  }
  return static_cast<double>(calls) / std::chrono::duration<double>(to - from).count();
}

}  // namespace

Timing measure_batch(const Runnable& model, int64_t batch, int64_t length, double seconds) {
  return measure_instances(model, batch, length, seconds, 1).call;
}

InstancesTiming measure_instances(const Runnable& model, int64_t batch, int64_t length, double seconds,
                                  int64_t instances) {
  const auto texts = random_texts(model, batch, length);
  std::vector<Timing> each(static_cast<size_t>(instances));
  std::vector<std::vector<Clock::time_point>> ends(each.size());
  run_instances(instances, [&](int64_t i) {
    const c10::InferenceMode inference;
    auto& own = ends[static_cast<size_t>(i)];
    each[static_cast<size_t>(i)] = measure(
        [&] {
          model.logits(texts).to(torch::kCPU);
          own.push_back(Clock::now());
        },
        seconds);
  });
  InstancesTiming result{.call = *std::ranges::max_element(each, {}, &Timing::median_ms)};
  result.call.runs = 0;
  for (const auto& timing : each) result.call.runs += timing.runs;
  const double calls = instances == 1 ? 1e3 / result.call.median_ms : calls_per_second(ends);
  result.texts_per_second = static_cast<double>(batch) * calls;
  return result;
}

}  // namespace compression::recipes
