#include "recipes/benchmark.h"

#include <torch/types.h>

#include <vector>

#include "compress/evaluate/instances.h"  // run_instances

namespace compression::recipes {

Timing measure_batch(const Runnable& model, int64_t batch, int64_t length, double seconds, int64_t instances) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
  Batch texts;
  texts.input_ids = torch::randint(0, model.tokenizer->usable_ids(), {batch, length}, generator, torch::kLong);
  texts.attention_mask = torch::ones_like(texts.input_ids);
  texts.token_type_ids = torch::zeros_like(texts.input_ids);
  texts = texts.to(model.device);
  std::vector<Timing> each(static_cast<size_t>(instances));
  run_instances(instances, [&](int64_t i) {
    const c10::InferenceMode inference;
    each[static_cast<size_t>(i)] = measure([&] { model.logits(texts).to(torch::kCPU); }, seconds);
  });
  auto slowest = each.front();
  int64_t runs = 0;
  for (const auto& timing : each) {
    runs += timing.runs;
    if (timing.median_ms > slowest.median_ms) slowest = timing;
  }
  slowest.runs = runs;
  return slowest;
}

}  // namespace compression::recipes
