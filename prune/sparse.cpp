#include "prune/sparse.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "compress/base/error.h"             // DataError
#include "compress/base/fields.h"            // enum_name
#include "compress/evaluate/inputs.h"        // each_input
#include "compress/kernels/sparse.h"         // sparse_word
#include "compress/kernels/sparse_choice.h"  // sparse_choice
#include "compress/state_dict/state_dict.h"  // not_finite
#include "prune/reconstruct.h"               // cholesky_factor, mean_square

namespace compression::prune {
namespace {

using torch::Tensor;

int64_t blocks_in(int64_t size, int64_t block) {
  return (size + block - 1) / block;
}

/// True for the `count` largest of each row; of equals, those that come first.
Tensor largest_of_rows(const Tensor& scores, int64_t count) {
  const auto order = std::get<1>(scores.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true)).slice(1, 0, count);
  return torch::zeros_like(scores, torch::kBool).scatter_(1, order, true);
}

/// Of each group of shape.of columns.
Tensor kept_in_groups(const Tensor& scores, const PatternShape& shape, double density) {
  const auto in = scores.size(1), groups = blocks_in(in, shape.of);
  const auto stay = std::max(shape.kept, static_cast<int64_t>(std::llround(density * static_cast<double>(shape.of))));
  const auto padded = torch::constant_pad_nd(scores, {0, groups * shape.of - in}, -1.0);
  const auto kept = largest_of_rows(padded.reshape({-1, shape.of}), std::min(stay, shape.of));
  return kept.reshape({scores.size(0), -1}).slice(1, 0, in);
}

int64_t count_of(double density, int64_t all) {
  return std::clamp<int64_t>(std::llround(density * static_cast<double>(all)), 0, all);
}

/// The sums over batches of what each block's mask has for a gradient.
std::vector<Tensor> gradient_scores(const std::vector<Linear>& layers, const PatternShape& shape,
                                    ImportanceMethod method, const LossSource& next_loss) {
  std::vector<Tensor> weights, scores;
  for (const auto& layer : layers) {
    weights.push_back(layer->weight);
    scores.push_back(torch::zeros_like(block_sums(layer->weight.detach(), shape)));
  }
  bool any = false;
  for (; const auto loss = next_loss(); any = true) {
    const auto gradients = gradients_of(*loss, weights);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < weights.size(); ++i) {
      scores[i] += strength(block_sums(weights[i] * gradients[i], shape), method);
    }
  }
  if (!any) throw DataError("importance: there is no text to score on");
  return scores;
}

/// Mean squares of what each layer reads, float32 [in].
std::vector<Tensor> input_squares(Model& model, const std::vector<Linear>& layers, const BatchSource& texts,
                                  const Context& context) {
  std::vector<Tensor> sums(layers.size());
  std::vector<int64_t> rows(layers.size());
  each_input(model, layers, texts, context, [&](size_t i, const Tensor& x) {
    const auto squares = x.to(torch::kDouble).square().sum(0);
    sums[i] = sums[i].defined() ? sums[i] + squares : squares;
    rows[i] += x.size(0);
  });
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] = (sums[i] / static_cast<double>(std::max<int64_t>(rows[i], 1))).to(torch::kFloat);
  }
  return sums;
}

}  // namespace

SparsityPattern resolved(SparsityPattern pattern) {
  if (pattern != SparsityPattern::automatic) return pattern;
  return kernels::sparse_word() == 4 ? SparsityPattern::block_1x4 : SparsityPattern::block_1x2;
}

std::vector<LayerZeros> layer_zeros(Model& model) {
  std::map<const LinearImpl*, int64_t> layers;  // of the block that each is first used in
  for (size_t i = 0; i < model->encoder->layers.size(); ++i) {
    for (const auto& linear : model->encoder->layers[i]->linears()) {
      layers.emplace(linear.get(), static_cast<int64_t>(i));
    }
  }
  std::vector<LayerZeros> all;
  const at::NoGradGuard no_grad;
  for (const auto& [name, linear] : model->named_linears()) {
    const auto found = layers.find(linear.get());
    if (found == layers.end() || linear->empty()) continue;
    LayerZeros zeros{.name = name, .layer = found->second, .out = linear->rows(), .in = linear->columns()};
    const auto present = linear->full_weight().ne(0).to(torch::kCPU, torch::kChar).contiguous();
    zeros.density = present.sum().item<double>() / static_cast<double>(present.numel());
    zeros.words = kernels::sparse_density(present.data_ptr<int8_t>(), zeros.out, zeros.in);
    zeros.choice = kernels::sparse_choice(zeros.out, zeros.in, zeros.words);
    all.push_back(std::move(zeros));
  }
  return all;
}

double int8_gain(const std::vector<LayerZeros>& layers) {
  double dense = 0.0, sparse = 0.0;
  for (const auto& layer : layers) {
    const auto products = static_cast<double>(layer.out * layer.in);
    dense += products;
    sparse += products / layer.choice.speedup;
  }
  return sparse > 0.0 ? dense / sparse : 1.0;
}

Tensor block_sums(const Tensor& values, const PatternShape& shape) {
  const auto out = values.size(0), in = values.size(1);
  const auto down = blocks_in(out, shape.rows), across = blocks_in(in, shape.columns);
  const auto padded = torch::constant_pad_nd(values, {0, across * shape.columns - in, 0, down * shape.rows - out});
  return padded.reshape({down, shape.rows, across, shape.columns}).sum({1, 3});
}

Tensor spread_blocks(const Tensor& blocks, const PatternShape& shape, int64_t out, int64_t in) {
  return blocks.repeat_interleave(shape.rows, 0).repeat_interleave(shape.columns, 1).slice(0, 0, out).slice(1, 0, in);
}

Tensor kept_weights(const Tensor& scores, const PatternShape& shape, double density, int64_t out, int64_t in) {
  if (shape.of > 0) return kept_in_groups(scores, shape, density);
  const auto kept = largest_of_rows(scores.reshape({1, -1}), count_of(density, scores.numel()));
  return spread_blocks(kept.reshape(scores.sizes()), shape, out, in);
}

std::vector<Tensor> kept_of_all(const std::vector<Tensor>& scores, const PatternShape& shape, double density,
                                const std::vector<Linear>& layers) {
  std::vector<Tensor> kept;
  if (shape.of > 0) {
    for (const auto& each : scores) kept.push_back(kept_in_groups(each, shape, density));
    return kept;
  }
  std::vector<Tensor> rows;
  std::vector<int64_t> sizes;
  for (const auto& each : scores) {
    rows.push_back(each.reshape({1, -1}));
    sizes.push_back(each.numel());
  }
  const auto all = torch::cat(rows, 1);
  const auto parts = largest_of_rows(all, count_of(density, all.numel())).split_with_sizes(sizes, 1);
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto& weight = layers[i]->weight;
    kept.push_back(spread_blocks(parts[i].reshape(scores[i].sizes()), shape, weight.size(0), weight.size(1)));
  }
  return kept;
}

std::vector<Tensor> block_scores(Model& model, const std::vector<Linear>& layers, const PatternShape& shape,
                                 ImportanceMethod method, const LossSource& next_loss, const BatchSource& texts,
                                 const Context& context) {
  std::vector<Tensor> scores;
  if (by_masks(method)) {
    scores = gradient_scores(layers, shape, method, next_loss);
  } else {
    const at::NoGradGuard no_grad;
    const auto inputs = method == ImportanceMethod::wanda ? input_squares(model, layers, texts, context)
                                                          : std::vector<Tensor>(layers.size());
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto& weight = layers[i]->weight;
      if (method == ImportanceMethod::random) {
        const auto like = block_sums(weight, shape);
        scores.push_back(random_uniform(like.numel(), context.seed + i).reshape(like.sizes()).to(like.device()));
      } else {
        const auto squares = weight.square();
        scores.push_back(block_sums(inputs[i].defined() ? squares * inputs[i] : squares, shape));
      }
    }
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (const auto odd = not_finite(scores[i]); !odd.empty()) {
      throw DataError(fmt::format("{}: the scores of the {}. linear layer: found {}, expected finite numbers",
                                  enum_name(method), i + 1, odd));
    }
  }
  return scores;
}

Tensor sparse_gpt(const Tensor& weight, const Tensor& gram, const PatternShape& shape, double density, double damping) {
  const auto out = weight.size(0), in = weight.size(1);
  auto matrix = weight.to(torch::kCPU, torch::kDouble).clone();
  const auto present = matrix.ne(0);
  const auto damped = gram + damping * mean_square(gram.diagonal()) * torch::eye(in, gram.options());
  // Row j of the upper factor of the inverse: how an error in column j is shared out to those behind it.
  const auto inverse = torch::cholesky_inverse(cholesky_factor(damped));
  const auto factor = torch::linalg_cholesky(inverse, /*upper=*/true);
  const auto together = std::max(shape.columns, shape.of);  // columns that are decided on at once
  const auto width = std::max<int64_t>(128 / together, 1) * together;
  for (int64_t first = 0; first < in; first += width) {
    const auto last = std::min(in, first + width);
    const auto upper = factor.slice(0, first, last);
    const auto diagonal = upper.slice(1, first, last).diagonal();
    auto part = matrix.slice(1, first, last);
    const auto errors_of =
        torch::where(present.slice(1, first, last), part / diagonal, torch::zeros({}, part.options()));
    const auto scores = block_sums(errors_of.square(), shape);
    const auto kept =
        kept_weights(scores, shape, density, out, last - first).logical_and(present.slice(1, first, last));
    auto errors = torch::zeros_like(part);
    for (int64_t j = 0; j < last - first; ++j) {
      const auto column = part.select(1, j).clone();
      const auto stays = torch::where(kept.select(1, j), column, torch::zeros({}, column.options()));
      const auto error = (column - stays) / diagonal[j];
      part.slice(1, j) -= error.unsqueeze(1) * upper[j].slice(0, first + j, last).unsqueeze(0);
      part.select(1, j).copy_(stays);
      errors.select(1, j).copy_(error);
    }
    part.mul_(kept);
    matrix.slice(1, last) -= errors.mm(upper.slice(1, last));
  }
  return (matrix * matrix.ne(0).logical_and(present)).to(weight.options());
}

void sparse_gpt_layers(Model& model, const PatternShape& shape, double density, const BatchSource& texts,
                       const Context& context) {
  constexpr double damping = 0.01;  // as the paper's
  for (size_t layer = 0; layer < model->encoder->layers.size(); ++layer) {
    if (model->config().first_use(layer) < layer) continue;
    const auto linears = model->encoder->layers[layer]->linears();
    std::vector<Tensor> grams(linears.size());
    each_input(model, linears, texts, context, [&](size_t i, const Tensor& x) {
      const auto products = x.t().mm(x).to(torch::kDouble);
      grams[i] = grams[i].defined() ? grams[i] + products : products;
    });
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < linears.size(); ++i) {
      if (!grams[i].defined()) continue;  // the block went whole
      auto weight = linears[i]->weight;
      weight.copy_(sparse_gpt(weight, grams[i].to(torch::kCPU), shape, density, damping));
    }
  }
}

double density_of(const std::vector<Linear>& layers) {
  int64_t stay = 0, all = 0;
  for (const auto& layer : layers) {
    stay += layer->weight.ne(0).sum().item<int64_t>();
    all += layer->weight.numel();
  }
  return all == 0 ? 1.0 : static_cast<double>(stay) / static_cast<double>(all);
}

nlohmann::json sparsity_json(Model& model) {
  const auto& pattern = model->config().sparsity;
  if (!pattern) return nlohmann::json::object();
  return {{"sparsity", {{"pattern", enum_name(*pattern)}, {"density", density_of(model->block_linears())}}}};
}

void tell_sparsity(Model& model, const Context& context) {
  const auto pattern = enum_name(model->config().sparsity.value());
  const auto density = density_of(model->block_linears()), gain = int8_gain(layer_zeros(model));
  if (gain > 1.0) {
    context.logger->info(
        "{:.1f} % of the blocks' weights stay, pattern {}; their int8 products are {:.2f} times as fast "
        "on this machine as dense ones",
        100.0 * density, pattern, gain);
  } else {
    context.logger->warn(
        "{:.1f} % of the blocks' weights stay, pattern {}; on this machine that is no faster than dense "
        "int8, whose kernels leave out {} neighbouring inputs of an output that are all 0",
        100.0 * density, pattern, kernels::sparse_word());
  }
}

}  // namespace compression::prune
