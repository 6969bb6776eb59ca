#include "compress/evaluate/evaluate.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include "compress/base/error.h"      // DataError
#include "compress/model/autocast.h"  // Autocast

namespace compression {

void each_output(const LogitsFunction& logits, const BatchSource& source, const Context& context,
                 const std::function<void(const Batch&, const torch::Tensor&)>& visit) {
  const Autocast float32(std::nullopt, context.device);
  const c10::InferenceMode inference;
  const auto plan = source.plan(0);
  for (size_t i = 0; i < plan.size(); ++i) {
    context.check_stop();
    const auto batch = source.collate(plan[i]);
    visit(batch, logits(batch.to(context.device)).to(torch::kCPU));
    context.progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(plan.size()), "evaluating");
  }
}

Evaluation evaluate(const LogitsFunction& logits, const BatchSource& source, const Context& context) {
  const auto scorer = source.scorer();
  each_output(logits, source, context,
              [&](const Batch& batch, const torch::Tensor& outputs) { scorer->add(batch, outputs); });
  const auto result = scorer->result();
  if (result.total == 0) {
    throw DataError(fmt::format("evaluation: none of {} texts has a token or label that can be scored", source.size()));
  }
  source.tell_left_out(context.logger);
  if (!result.remark.empty()) context.logger->warn("evaluation: {}", result.remark);
  return result;
}

torch::Tensor predict(const LogitsFunction& logits, const BatchSource& source, const Context& context) {
  torch::Tensor all;
  each_output(logits, source, context, [&](const Batch& batch, const torch::Tensor& outputs) {
    if (!all.defined()) all = torch::zeros({source.size(), outputs.size(1)}, torch::kFloat);
    all.index_copy_(0, batch.examples, outputs);
  });
  return all;
}

}  // namespace compression
