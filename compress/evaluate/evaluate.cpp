#include "compress/evaluate/evaluate.h"

#include <torch/types.h>

namespace compression {
namespace {

template <class Visit>
void each_batch(const BatchSource& source, const Context& context, Visit&& visit) {
  const auto plan = source.plan(0);
  for (size_t i = 0; i < plan.size(); ++i) {
    context.check_stop();
    visit(source.collate(plan[i]));
    context.progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(plan.size()), "evaluating");
  }
}

}  // namespace

Evaluation evaluate(const LogitsFunction& logits, const BatchSource& source, const Context& context) {
  const c10::InferenceMode inference;
  Evaluation result;
  double loss = 0.0;
  each_batch(source, context, [&](const Batch& batch) {
    const auto scores = logits(batch.to(context.device)).to(torch::kCPU);
    result.correct += scores.argmax(-1).eq(batch.labels).sum().item<int64_t>();
    result.total += batch.size();
    loss += torch::cross_entropy_loss(scores.to(torch::kDouble), batch.labels, {}, at::Reduction::Sum).item<double>();
  });
  result.loss = result.total == 0 ? 0.0 : loss / static_cast<double>(result.total);
  return result;
}

torch::Tensor predict(const LogitsFunction& logits, const BatchSource& source, const Context& context) {
  const c10::InferenceMode inference;
  torch::Tensor all;
  each_batch(source, context, [&](const Batch& batch) {
    const auto scores = logits(batch.to(context.device)).to(torch::kCPU);
    if (!all.defined()) all = torch::zeros({source.size(), scores.size(1)});
    all.index_copy_(0, batch.examples, scores);
  });
  return all;
}

}  // namespace compression
