#include "compress/evaluate/inputs.h"

#include <torch/types.h>

#include "compress/base/error.h"      // DataError
#include "compress/model/autocast.h"  // OrdinaryMode

namespace compression {
namespace {

/// While it lives, the layers show their inputs, and the model computes layer by layer.
class Watching {
 public:
  Watching(Model& model, std::vector<Linear>& linears)
      : model_(model), linears_(linears), fused_(model->encoder->fused), training_(model->is_training()) {
    model_->set_fused(std::nullopt);
    model_->eval();
  }
  ~Watching() {
    for (auto& linear : linears_) linear->watch = nullptr;
    model_->set_fused(fused_);
    model_->train(training_);
  }
  Watching(const Watching&) = delete;

 private:
  Model& model_;
  std::vector<Linear>& linears_;
  std::optional<Arithmetic> fused_;
  bool training_;
};

/// Inputs of other shapes than the mask's are of first tokens, of labelled ones or of positions: all of them count.
torch::Tensor rows_of(const torch::Tensor& x, const torch::Tensor& mask) {
  const bool of_tokens = mask.defined() && x.dim() == 3 && x.size(0) == mask.size(0) && x.size(1) == mask.size(1);
  return (of_tokens ? x.index({mask}) : x.reshape({-1, x.size(-1)})).to(torch::kFloat);
}

}  // namespace

void each_input(Model& model, std::vector<Linear> linears, const BatchSource& texts, const Context& context,
                const std::function<void(size_t i, const torch::Tensor& rows)>& visit,
                const std::function<void(const Batch& batch)>& begin) {
  const OrdinaryMode ordinary(context.device);
  const at::NoGradGuard no_grad;
  const auto plan = texts.plan(0);
  if (plan.empty()) throw DataError("there is no text to calibrate on");
  const Watching watching(model, linears);
  torch::Tensor mask;
  for (size_t i = 0; i < linears.size(); ++i) {
    linears[i]->watch = [&visit, &mask, i](const torch::Tensor& x) { visit(i, rows_of(x, mask)); };
  }
  for (size_t b = 0; b < plan.size(); ++b) {
    context.check_stop();
    context.progress(static_cast<int64_t>(b), static_cast<int64_t>(plan.size()), "calibrating");
    const auto batch = texts.collate(plan[b]).to(context.device);
    begin(batch);
    mask = batch.attention_mask().defined() ? batch.attention_mask().to(torch::kBool) : torch::Tensor();
    model->forward(batch);
  }
}

}  // namespace compression
