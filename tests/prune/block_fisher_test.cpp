#include "prune/block_fisher.h"

#include "compress/base/error.h"
#include "prune/sparse.h"
#include "tests/support.h"

namespace compression::prune {
namespace {

using namespace testing;
using torch::Tensor;

Linear layer_of(const Tensor& weight) {
  Linear layer(weight.size(1), weight.size(0), /*has_bias=*/false);
  const at::NoGradGuard no_grad;
  layer->weight.copy_(weight);
  return layer;
}

/// Losses whose gradients are the given ones, [count, out, in].
LossSource with_gradients(const Linear& layer, const Tensor& gradients) {
  return [layer, gradients, next = int64_t{0}]() mutable -> std::optional<Tensor> {
    if (next == gradients.size(0)) return std::nullopt;
    return (layer->weight * gradients[next++]).sum();
  };
}

/// F of some columns of an output, in double: the gradients' products, and a share of their mean square in the layer.
Tensor information(const Tensor& gradients, int64_t out, int64_t first, int64_t last) {
  const auto all = gradients.to(torch::kDouble), g = all.select(1, out).slice(1, first, last);
  const auto mean = all.square().sum(0).mean().item<double>();
  return g.t().mm(g) + 1e-4 * mean * torch::eye(last - first, torch::kDouble);
}

TEST_CASE("oBERT's scores are those of the inverse information, and what stays moves to the least of the quadratic") {
  at::manual_seed(4);
  const int64_t out = 3, in = 22;
  const auto pattern =
      GENERATE(SparsityPattern::unstructured, SparsityPattern::block_1x4, SparsityPattern::two_of_four);
  INFO(enum_name(pattern));
  const auto shape = shape_of(pattern);
  auto weight = torch::randn({out, in});
  weight[1].slice(0, 4, 8).zero_();
  const auto layer = layer_of(weight);
  const auto common = torch::randn({80, out, 1});  // columns that can stand in for each other
  const auto gradients = torch::randn({80, out, in}) + common;
  const int64_t most_bytes =
      GENERATE(int64_t{1} << 30, out * in * 4 * 9);  // one block of each output, or 8 inputs each
  const BlockFisher fisher({layer}, shape, with_gradients(layer, gradients), most_bytes);
  const auto width = std::min(in, fisher.width());
  if (most_bytes < 10000) CHECK(fisher.width() == (shape.columns == 1 && shape.of == 0 ? 9 : 8));
  const auto scores = fisher.scores(0);
  const auto kept = kept_weights(scores, shape, 0.5, out, in);
  const auto pruned = fisher.pruned(0, kept);
  CHECK(scores.sizes() == torch::IntArrayRef({out, (in + shape.columns - 1) / shape.columns}));
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t first = 0; first < in; first += width) {
      const auto last = std::min(in, first + width);
      const auto f = information(gradients, o, first, last), inverse = torch::linalg_inv(f);
      const auto w = weight[o].slice(0, first, last).to(torch::kDouble);
      for (int64_t c = first; c < last; c += shape.columns) {
        const auto a = c - first, b = std::min(last, c + shape.columns) - first;
        const auto part = w.slice(0, a, b);
        const auto own = inverse.slice(0, a, b).slice(1, a, b);
        const auto expected = part.dot(torch::linalg_inv(own).mv(part)).item<double>() / 2;
        CHECK(scores[o][c / shape.columns].item<double>() == Approx(expected).epsilon(2e-3).margin(1e-5));
      }
      // Equation 4 of the paper, for all that goes: another way than the one that it is computed by.
      const auto stays = kept[o].slice(0, first, last).logical_and(w.ne(0));
      const auto gone = stays.logical_not().nonzero().squeeze(1);
      const auto columns = inverse.index_select(1, gone);
      const auto expected =
          (w - columns.mv(torch::linalg_inv(columns.index_select(0, gone)).mv(w.index_select(0, gone)))) * stays;
      check_close(pruned[o].slice(0, first, last).to(torch::kDouble), expected, 2e-3);
    }
  }
  CHECK(pruned.eq(0).logical_or(kept).all().item<bool>());
  CHECK(pruned[1].slice(0, 4, 8).eq(0).all().item<bool>());
}

TEST_CASE("oBERT's one shot loses less of a regression than magnitude") {
  at::manual_seed(5);
  const int64_t out = 6, in = 24, texts = 600;
  const auto x = torch::randn({texts, in}) + 2 * torch::randn({texts, 3}).mm(torch::randn({3, in}));
  const auto truth = torch::randn({out, in});
  const auto y = x.mm(truth.t()) + 0.3 * torch::randn({texts, out});
  const auto layer = layer_of(truth);
  const auto loss_of = [&](const Tensor& weight) { return torch::mse_loss(x.mm(weight.t()), y); };
  int64_t next = 0;
  const LossSource each = [&]() -> std::optional<Tensor> {
    if (next == texts) return std::nullopt;
    const auto row = x.slice(0, next, next + 1), wanted = y.slice(0, next, next + 1);
    ++next;
    return torch::mse_loss(row.mm(layer->weight.t()), wanted);
  };
  const PatternShape shape{.columns = 4};
  const BlockFisher fisher({layer}, shape, each);
  const auto pruned = fisher.pruned(0, kept_weights(fisher.scores(0), shape, 0.5, out, in));
  const auto by_size = truth * kept_weights(block_sums(truth.square(), shape), shape, 0.5, out, in);
  CHECK(pruned.eq(0).sum().item<int64_t>() == out * in / 2);
  CHECK(loss_of(pruned).item<double>() < 0.3 * loss_of(by_size).item<double>());
  CHECK(loss_of(pruned).item<double>() < loss_of(truth * pruned.ne(0)).item<double>());
}

TEST_CASE("oBERT tells a gradient that is no number, and that there is no text") {
  const auto layer = layer_of(torch::ones({2, 4}));
  const auto odd = torch::full({1, 2, 4}, std::nan(""));
  CHECK_THROWS_WITH(BlockFisher({layer}, {}, with_gradients(layer, odd)),
                    Catch::Contains("a gradient of the 1. linear layer: found nan"));
  CHECK_THROWS_AS(BlockFisher({layer}, {}, [] { return std::optional<Tensor>(); }), DataError);
}

}  // namespace
}  // namespace compression::prune
