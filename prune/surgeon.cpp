#include "prune/surgeon.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include "compress/base/fields.h"     // enum_name
#include "compress/base/random.h"     // mixed
#include "compress/model/autocast.h"  // OrdinaryMode
#include "compress/task/task.h"       // find_task
#include "prune/blocks.h"             // Block, Texts
#include "prune/cut.h"                // features_of
#include "prune/reconstruct.h"        // with_bias, cholesky_factor

namespace compression::prune {
namespace {

constexpr double kDamping = 1e-3;

/// Normal numbers in the logits' shape. Those of a text follow from the seed and the text's position in the source
/// alone, not from the batch that it is in; padding has zeros.
torch::Tensor directions(const torch::Tensor& logits, const Batch& batch, const Task& task, uint64_t seed) {
  auto all = torch::zeros(logits.sizes(), torch::kFloat);
  const bool by_token = logits.dim() == 3;
  // The rows are of labelled tokens.
  const bool labelled_alone = task.traits.head == HeadKind::words && batch.labels().defined();
  const auto mask = batch.attention_mask().cpu();
  const auto counts =
      labelled_alone ? task.label_counts(batch.labels()).cpu() : torch::ones({batch.size()}, torch::kLong);
  int64_t begin = 0;
  for (int64_t text = 0; text < batch.size(); ++text) {
    auto generator = at::detail::createCPUGenerator(
        mixed(seed ^ mixed(static_cast<uint64_t>(batch.examples[text].item<int64_t>()))));
    if (by_token) {
      const auto tokens = mask[text].nonzero().squeeze(1);
      all[text].index_copy_(0, tokens, torch::randn({tokens.size(0), logits.size(2)}, generator, torch::kFloat));
      continue;
    }
    const auto count = counts[text].item<int64_t>();
    all.slice(0, begin, begin + count).copy_(torch::randn({count, logits.size(1)}, generator, torch::kFloat));
    begin += count;
  }
  return all.to(logits.device());
}

/// Of each block the second moment of gradients with respect to its sum times its deviation: float64 [hidden, hidden].
/// The square of an error of the normalised sum along it is what the logits' square changes by, on average.
std::vector<torch::Tensor> output_curvatures(Model& model, std::vector<Block>& all, const BatchSource& source,
                                             uint64_t seed, const Context& context) {
  const auto hidden = model->config().hidden_size;
  std::vector<torch::Tensor> moments(all.size());
  for (auto& moment : moments) moment = torch::zeros({hidden, hidden}, torch::kDouble);
  std::vector<double> rows(all.size());
  for (auto& texts : embed(model, source, context)) {
    context.check_stop();
    std::vector<torch::Tensor> sums;
    auto x = texts.x.detach();
    for (auto& block : all) {
      sums.push_back(block.sum(x, texts.context));
      x = block.next(sums.back());
    }
    const auto logits = logits_of(model, x, texts.batch);
    const auto along = directions(logits, texts.batch, find_task(model->config().task), seed);
    const auto gradients = torch::autograd::grad({(logits * along).sum()}, sums);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < all.size(); ++i) {
      const auto g = texts.rows(gradients[i] / all[i].sensitivity(sums[i]), all[i]);
      moments[i] += g.t().mm(g).to(moments[i].options());
      rows[i] += static_cast<double>(g.size(0));
    }
  }
  for (size_t i = 0; i < all.size(); ++i) moments[i] /= rows[i];
  return moments;
}

/// R with R' R = m, for a symmetric m that is positive up to rounding.
torch::Tensor root(const torch::Tensor& m) {
  require_finite(m);
  const auto [values, vectors] = torch::linalg_eigh(m);
  return (vectors * values.clamp_min(0.0).sqrt()).t();
}

}  // namespace

torch::Tensor removal_costs(const torch::Tensor& gram, const torch::Tensor& weight, int64_t width, int64_t fixed,
                            double damping) {
  const auto inputs = gram.size(0) - fixed, units = inputs / width;
  if (units == 0) return torch::zeros({0}, gram.options());
  auto pull = torch::zeros({gram.size(0)}, gram.options());
  pull.slice(0, 0, inputs).fill_(damping * mean_square(gram.diagonal().slice(0, 0, inputs)));
  const auto factor = cholesky_factor(gram + torch::diag(pull));
  auto inverse = torch::cholesky_inverse(factor).slice(0, 0, inputs).slice(1, 0, inputs);
  auto w = weight.t();                             // [inputs that are left, outputs]
  auto left = torch::arange(units, torch::kLong);  // units
  auto costs = torch::zeros({units}, gram.options());
  auto last = torch::zeros({}, gram.options());  // of the units that went before
  while (left.size(0) > 0) {
    const auto n = left.size(0);
    const auto own = inverse.reshape({n, width, n, width}).diagonal(0, 0, 2).permute({2, 0, 1});  // [n, width, width]
    const auto reads = w.reshape({n, width, -1});
    const auto errors = (reads * torch::linalg_solve(own, reads)).sum({1, 2});
    const auto [sorted, order] = errors.sort();
    const auto count = std::max<int64_t>(1, n / 32);
    const auto goes = order.slice(0, 0, count);
    const auto cost = torch::maximum(sorted.slice(0, 0, count), last);
    costs.index_copy_(0, left.index_select(0, goes), cost);
    last = cost.max();
    auto stays = torch::ones({n}, torch::kBool);
    stays.index_fill_(0, goes, false);
    const auto rest = stays.nonzero().squeeze(1);
    // Those that stay take over: the inverse and the weights without the units that go.
    const auto gone = features_of(goes, width), kept = features_of(rest, width);
    const auto inverse_kept = inverse.index_select(0, kept);
    const auto share = torch::linalg_solve(inverse.index_select(0, gone).index_select(1, gone),
                                           inverse_kept.index_select(1, gone).t());  // [gone, kept]
    w = w.index_select(0, kept) - share.t().mm(w.index_select(0, gone));
    inverse = inverse_kept.index_select(1, kept) - inverse_kept.index_select(1, gone).mm(share);
    left = left.index_select(0, rest);
  }
  return costs;
}

Importance surgeon_scores(Model& model, const BatchSource& source, uint64_t seed, const Context& context) {
  const OrdinaryMode ordinary(context.device);
  auto all = blocks(model);
  const auto curvatures = output_curvatures(model, all, source, seed, context);
  const at::NoGradGuard no_grad;
  auto batches = embed(model, source, context);
  Importance importance;
  const auto groups = model->prunable_units();
  for (size_t i = 0; i < all.size(); ++i) {
    context.progress(static_cast<int64_t>(i), static_cast<int64_t>(all.size()), "scoring");
    auto& block = all[i];
    const auto& weight = block.linear()->weight;
    auto gram = torch::zeros({weight.size(1) + 1, weight.size(1) + 1}, torch::kDouble);
    for (auto& texts : batches) {
      context.check_stop();
      const auto units = block.units(texts.x, texts.context);
      const auto sum = block.linear()->forward(units) + texts.x;
      const auto weighted = with_bias(texts.rows(units, block)) * texts.rows(block.sensitivity(sum), block);
      const auto inputs = weighted.to(gram.options());
      gram += inputs.t().mm(inputs);
      texts.x = block.next(sum);
    }
    const auto along_logits = root(curvatures[i]).mm(weight.to(torch::kCPU, torch::kDouble));
    const auto costs = removal_costs(gram, along_logits, block.width(), 1, kDamping);
    importance.push_back({groups[i].kind, groups[i].layer, costs.to(torch::kFloat)});
  }
  check_finite(importance, enum_name(ImportanceMethod::surgeon));
  return importance;
}

}  // namespace compression::prune
