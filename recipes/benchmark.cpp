#include "recipes/benchmark.h"

#include <torch/types.h>

namespace compression::recipes {

Timing measure_batch(const Runnable& model, int64_t batch, int64_t length, double seconds) {
  const c10::InferenceMode inference;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
  Batch texts;
  texts.input_ids = torch::randint(0, model.tokenizer->vocabulary_size(), {batch, length}, generator, torch::kLong);
  texts.attention_mask = torch::ones_like(texts.input_ids);
  texts.token_type_ids = torch::zeros_like(texts.input_ids);
  texts = texts.to(model.device);
  return measure([&] { model.logits(texts).to(torch::kCPU); }, seconds);
}

}  // namespace compression::recipes
