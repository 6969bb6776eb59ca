#include "prune/hidden.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include "compress/base/error.h"             // DataError
#include "compress/base/fields.h"            // enum_name
#include "compress/model/autocast.h"         // OrdinaryMode
#include "compress/model/resize.h"           // resized
#include "compress/state_dict/state_dict.h"  // state_dict, not_finite
#include "compress/task/task.h"              // label_loss, label_counts
#include "compress/train/objective.h"        // to_own_means
#include "prune/importance.h"                // random_uniform, strength

namespace compression::prune {
namespace {

/// dLoss/dmask of each text's mask, for the mean loss of the texts: [batch, hidden].
torch::Tensor mask_gradients(Model& model, const Batch& batch) {
  const auto out = model->forward(batch, {.hidden_states = true});
  const auto loss = label_loss(model->config().task, out.logits.to(torch::kFloat), batch.labels, batch.attention_mask);
  const auto gradients = torch::autograd::grad({loss}, out.hidden_states);
  const at::NoGradGuard no_grad;
  torch::Tensor sum;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const auto of_texts = (out.hidden_states[i] * gradients[i]).sum(1);
    sum = sum.defined() ? sum + of_texts : of_texts;
  }
  return sum;
}

torch::Tensor magnitudes(const Model& model) {
  const auto hidden = model->config().hidden_size;
  const auto state = state_dict(*model);
  auto squares = torch::zeros({hidden}, torch::kFloat);
  for (const auto& weight : weights(model->config())) {
    for (size_t d = 0; d < weight.axes.size(); ++d) {
      const auto& axis = weight.axes[d];
      if (axis.label != Label::hidden) continue;
      const auto values = state.at(weight.name).detach().to(torch::kCPU, torch::kFloat);
      const auto rows = values.square().transpose(0, static_cast<int64_t>(d));
      squares += rows.reshape({axis.repeats, hidden, -1}).sum({0, 2});
    }
  }
  return squares.sqrt();
}

torch::Tensor finite(const torch::Tensor& scores, ImportanceMethod method) {
  if (const auto odd = not_finite(scores); !odd.empty()) {
    throw DataError(fmt::format("{}: the scores of the hidden dimensions: found {}, expected finite numbers",
                                enum_name(method), odd));
  }
  return scores;
}

}  // namespace

torch::Tensor hidden_scores(Model& model, const BatchSource& source, const Context& context, ImportanceMethod method,
                            bool per_text) {
  const OrdinaryMode ordinary(context.device);
  if (method == ImportanceMethod::magnitude) return finite(magnitudes(model), method);
  if (method == ImportanceMethod::random) return random_uniform(model->config().hidden_size, context.seed);
  if (!by_masks(method)) throw std::invalid_argument(fmt::format("{} has no mask of hidden states", enum_name(method)));
  const auto plan = source.plan(0);
  int64_t batches = 0;
  auto scores = torch::zeros({model->config().hidden_size}, torch::kFloat);
  for (size_t i = 0; i < plan.size(); ++i) {
    context.check_stop();
    context.progress(static_cast<int64_t>(i), static_cast<int64_t>(plan.size()), "scoring");
    const auto batch = source.collate(plan[i]).to(context.device);
    const auto task = model->config().task;
    const auto count = static_cast<double>(label_count(task, batch.labels));
    if (count == 0.0) continue;
    ++batches;
    const auto gradients = mask_gradients(model, batch);
    if (per_text) {
      const auto to_own = to_own_means(count, label_counts(task, batch.labels).to(torch::kDouble));
      scores += strength(gradients * to_own.to(torch::kFloat).unsqueeze(1), method).sum(0).to(torch::kCPU);
    } else {
      scores += strength(gradients.sum(0), method).to(torch::kCPU);
    }
  }
  if (batches == 0) throw DataError("importance: there is no text to score on");
  return finite(scores, method);
}

Model keep_hidden(const Model& model, const torch::Tensor& kept) {
  const auto config = with_hidden_size(model->config(), kept.size(0));
  return resized(model, config, [&](Label, int64_t, int64_t, int64_t) { return kept; });
}

}  // namespace compression::prune
