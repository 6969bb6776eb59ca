#include "prune/reconstruct.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/base/error.h"             // DataError
#include "compress/model/autocast.h"         // OrdinaryMode
#include "compress/state_dict/state_dict.h"  // not_finite
#include "prune/blocks.h"                    // Block, Texts
#include "prune/cut.h"                       // features_of

namespace compression::prune {
namespace {

/// Fits linear layers that read the same to given outputs, which are those of all of them in a row.
void solve_into(std::vector<Linear> linears, const LeastSquares& fit, double damping) {
  std::vector<torch::Tensor> weights, biases;
  std::vector<int64_t> sizes;
  for (const auto& linear : linears) {
    weights.push_back(linear->weight);
    if (linear->bias.defined()) biases.push_back(linear->bias);
    sizes.push_back(linear->weight.size(0));
  }
  const auto [weight, bias] =
      fit.solve(torch::cat(weights), biases.empty() ? torch::Tensor() : torch::cat(biases), damping);
  const auto new_weights = weight.split_with_sizes(sizes);
  for (size_t i = 0; i < linears.size(); ++i) linears[i]->weight.copy_(new_weights[i]);
  if (biases.empty()) return;
  const auto new_biases = bias.split_with_sizes(sizes);
  for (size_t i = 0; i < linears.size(); ++i) linears[i]->bias.copy_(new_biases[i]);
}

/// Fits what makes a block's units, so that of the pruned model's inputs it makes what the original makes of its own.
void fit_units(const Block& block, const Block& original, const torch::Tensor& kept, const std::vector<Texts>& own,
               const std::vector<Texts>& whole, double damping, const Context& context) {
  const auto makers = block.makers(), originals = original.makers();
  const auto features = features_of(kept, block.width());
  const auto count = static_cast<int64_t>(makers.size()) * features.size(0);
  LeastSquares fit(makers.front()->weight.size(1), count);
  for (size_t i = 0; i < own.size(); ++i) {
    context.check_stop();
    // Keys and values are read of all tokens, in the last layer too.
    const auto rows = [&](const torch::Tensor& t) {
      return block.attention ? t.index({own[i].tokens}) : own[i].rows(t, block);
    };
    std::vector<torch::Tensor> outputs;
    for (auto maker : originals) {
      outputs.push_back(
          rows(maker->forward(original.read(whole[i].x))).index_select(1, features.to(whole[i].x.device())));
    }
    const auto inputs = rows(block.read(own[i].x));
    fit.add(inputs, torch::cat(outputs, 1), torch::ones({inputs.size(0), 1}, inputs.options()));
  }
  solve_into(makers, fit, damping);
}

/// What a layer of the head reads of what the last block gives.
torch::Tensor head_input(Linear layer, const Model& model, const Texts& texts) {
  torch::Tensor input;
  layer->watch = [&](const torch::Tensor& x) { input = x; };
  logits_of(model, texts.x, texts.batch);
  layer->watch = nullptr;
  return input;
}

/// Fits the layers of a head for whole texts to the original's.
void fit_head(const Model& model, const Model& whole_model, const std::vector<Texts>& own,
              const std::vector<Texts>& whole, double damping) {
  for (const auto* name : {"dense", "classifier"}) {
    auto linear = model->head->layers.at(name), original = whole_model->head->layers.at(name);
    LeastSquares equations(linear->weight.size(1), linear->weight.size(0));
    for (size_t i = 0; i < own.size(); ++i) {
      const auto in = head_input(linear, model, own[i]);
      const auto wanted = original->forward(head_input(original, whole_model, whole[i]));
      equations.add(in, wanted, torch::ones({in.size(0), 1}, in.options()));
    }
    solve_into({linear}, equations, damping);
  }
}

/// Fits a block of the pruned model to the original's, and takes all texts through both: `own` holds those of the
/// pruned model.
void fit_block(Block block, Block original, std::vector<Texts>& own, std::vector<Texts>& whole, Reconstruction method,
               double damping, const Context& context) {
  auto linear = block.linear();
  LeastSquares fit(linear->weight.size(1), linear->weight.size(0));
  for (size_t i = 0; i < own.size(); ++i) {
    context.check_stop();
    const auto rows = [&](const torch::Tensor& t) { return own[i].rows(t, block); };
    const auto sum = original.sum(whole[i].x, whole[i].context);
    fit.add(rows(block.units(own[i].x, own[i].context)), rows(sum - own[i].x), rows(original.sensitivity(sum)));
    whole[i].x = original.next(sum);
  }
  if (method == Reconstruction::rescale && linear->weight.numel() > 0) {
    const auto factors = fit.factors(linear->weight, linear->bias_or_zero(), block.width(), damping);
    linear->weight.mul_(factors.repeat_interleave(block.width()).to(linear->weight.options()));
  } else {
    solve_into({linear}, fit, damping);
  }
  for (auto& texts : own) {
    context.check_stop();
    texts.x = block.next(block.sum(texts.x, texts.context));
  }
}

}  // namespace

torch::Tensor with_bias(const torch::Tensor& inputs) {
  return torch::cat({inputs, torch::ones({inputs.size(0), 1}, inputs.options())}, 1);
}

void require_finite(const torch::Tensor& sums) {
  if (!not_finite(sums).empty()) {
    throw DataError("found NaN or infinity in the units' values on the texts, expected finite numbers");
  }
}

torch::Tensor cholesky_factor(const torch::Tensor& matrix) {
  require_finite(matrix);
  const auto [factor, failed] = torch::linalg_cholesky_ex(matrix);
  if (failed.item<int>() != 0) {
    throw DataError("the least squares over the units' values have no solution in double precision: raise damping");
  }
  return factor;
}

double mean_square(const torch::Tensor& diagonal) {
  const auto mean = diagonal.numel() > 0 ? diagonal.mean().item<double>() : 0.0;
  return mean > 0.0 ? mean : 1.0;
}

LeastSquares::LeastSquares(int64_t inputs, int64_t outputs)
    : gram_(torch::zeros({inputs + 1, inputs + 1}, torch::kDouble)),
      cross_(torch::zeros({inputs + 1, outputs}, torch::kDouble)) {}

void LeastSquares::add(const torch::Tensor& inputs, const torch::Tensor& outputs, const torch::Tensor& weights) {
  const auto extended = (with_bias(inputs) * weights).to(gram_.options());
  gram_ += extended.t().mm(extended);
  cross_ += extended.t().mm((outputs * weights).to(cross_.options()));
}

std::pair<torch::Tensor, torch::Tensor> LeastSquares::solve(const torch::Tensor& weight, const torch::Tensor& bias,
                                                            double damping) const {
  const auto inputs = weight.size(1);
  const auto columns = inputs + (bias.defined() ? 1 : 0);
  const auto whole = bias.defined() ? torch::cat({weight, bias.unsqueeze(1)}, 1) : weight;
  const auto given = whole.t().to(gram_.options());  // [columns, outputs]
  auto pull = torch::zeros({columns}, gram_.options());
  pull.slice(0, 0, inputs).fill_(damping * mean_square(gram_.diagonal().slice(0, 0, inputs)));
  const auto factor = cholesky_factor(gram_.slice(0, 0, columns).slice(1, 0, columns) + torch::diag(pull));
  const auto solution = torch::cholesky_solve(cross_.slice(0, 0, columns) + pull.unsqueeze(1) * given, factor).t();
  return {solution.slice(1, 0, inputs).to(weight.options()),
          bias.defined() ? solution.select(1, inputs).to(bias.options()) : bias};
}

torch::Tensor LeastSquares::factors(const torch::Tensor& weight, const torch::Tensor& bias, int64_t width,
                                    double damping) const {
  const auto inputs = weight.size(1), units = inputs / width;
  const auto w = weight.t().to(gram_.options());  // [inputs, outputs]
  const auto gram = gram_.slice(0, 0, inputs).slice(1, 0, inputs);
  const auto by_unit = [&](const torch::Tensor& t, int64_t dimension) {
    return t.unflatten(dimension, {units, width}).sum(dimension + 1);
  };
  const auto of_units =
      by_unit(by_unit(gram * w.mm(w.t()), 0), 1);  // [units, units]: what units' outputs have in common
  const auto left = cross_.slice(0, 0, inputs) -
                    gram_.slice(0, 0, inputs).select(1, inputs).unsqueeze(1) * bias.to(gram_.options()).unsqueeze(0);
  const auto with_target = by_unit((left * w).sum(1), 0);  // [units]
  const auto pull = damping * mean_square(of_units.diagonal());
  const auto factor = cholesky_factor(of_units + pull * torch::eye(units, gram_.options()));
  return torch::cholesky_solve((with_target + pull).unsqueeze(1), factor).squeeze(1);
}

void reconstruct(Model& model, Model& original, const std::vector<torch::Tensor>& kept, const BatchSource& texts,
                 Reconstruction method, double damping, const Context& context) {
  if (method == Reconstruction::none) return;
  const OrdinaryMode ordinary(context.device);
  const at::NoGradGuard no_grad;
  const auto all = blocks(model), originals = blocks(original);
  auto own = embed(model, texts, context), whole = embed(original, texts, context);
  for (size_t i = 0; i < all.size(); ++i) {
    context.progress(static_cast<int64_t>(i), static_cast<int64_t>(all.size()), "reconstructing");
    try {
      const bool fits_units = method == Reconstruction::layerwise && kept[i].numel() > 0;
      if (fits_units) fit_units(all[i], originals[i], kept[i], own, whole, damping, context);
      fit_block(all[i], originals[i], own, whole, method, damping, context);
    } catch (const DataError& error) {
      throw DataError(fmt::format("{} of layer {}: {}", all[i].attention ? "attention" : "FFN", i / 2, error.what()));
    }
  }
  const bool of_texts = model->head->kind() == HeadKind::text && original->head->kind() == HeadKind::text;
  if (method == Reconstruction::layerwise && of_texts) fit_head(model, original, own, whole, damping);
}

}  // namespace compression::prune
