#include "prune/sensitivity.h"

#include "compress/base/error.h"
#include "prune/pruner.h"
#include "prune/sparse.h"
#include "tests/support.h"

namespace compression::prune {
namespace {

using namespace testing;
using torch::Tensor;

/// A layer whose loss rises by `weight` times a convex function of what goes.
DensityCurve convex_curve(double size, double weight) {
  DensityCurve curve;
  for (size_t i = 0; i < tried_densities.size(); ++i) {
    curve.costs[i] = size * tried_densities[i];
    curve.rises[i] = weight * (1.0 / tried_densities[i] - 1.0);
  }
  return curve;
}

size_t index_of(double density) {
  return static_cast<size_t>(std::find(tried_densities.begin(), tried_densities.end(), density) -
                             tried_densities.begin());
}

TEST_CASE("densities chosen by sensitivity lose as little as any others of the same cost") {
  const std::vector<DensityCurve> curves = {convex_curve(100, 1.0), convex_curve(100, 5.0), convex_curve(400, 2.0)};
  const auto n = tried_densities.size();
  for (const double budget : {550.0, 300.0, 151.0, 60.0}) {
    CAPTURE(budget);
    const auto densities = choose_densities(curves, budget, Steps::whole);
    double cost = 0.0, rise = 0.0;
    for (size_t i = 0; i < curves.size(); ++i) {
      const auto at = index_of(densities[i]);
      REQUIRE(at < n);
      cost += curves[i].costs[at];
      rise += curves[i].rises[at];
    }
    CHECK(cost <= budget);
    double best = 1e30;  // of all with the cost that was reached
    for (size_t a = 0; a < n; ++a) {
      for (size_t b = 0; b < n; ++b) {
        for (size_t c = 0; c < n; ++c) {
          if (curves[0].costs[a] + curves[1].costs[b] + curves[2].costs[c] > cost) continue;
          best = std::min(best, curves[0].rises[a] + curves[1].rises[b] + curves[2].rises[c]);
        }
      }
    }
    CHECK(rise == Approx(best));
    const auto between = choose_densities(curves, budget, Steps::parts);
    CHECK(100 * between[0] + 100 * between[1] + 400 * between[2] == Approx(budget));
  }
}

TEST_CASE(
    "a layer that nothing depends on is the sparsest, one that can't be sparser stays, a dense budget changes none") {
  std::vector<DensityCurve> curves = {convex_curve(100, 0.0), convex_curve(100, 1.0), convex_curve(100, 1e12)};
  CHECK(choose_densities(curves, 300, Steps::parts) == std::vector<double>{1.0, 1.0, 1.0});
  const auto densities = choose_densities(curves, 140, Steps::parts);
  CHECK(densities[0] == tried_densities.back());
  CHECK(densities[2] == 1.0);
  // Products that take as long at any density are not made sparser.
  curves[0].costs.fill(100);
  CHECK(choose_densities(curves, 220, Steps::whole)[0] == 1.0);
  CHECK_THROWS_WITH(choose_densities(curves, 90, Steps::whole), Catch::Contains("expected 0.344 at least"));
}

TEST_CASE("the loss's rises are those of each layer alone, and the layers stay as they are") {
  auto model = tiny_model();
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const OneBatch source(batch, 1);
  LabelObjective objective(model);
  const auto context = quiet_context({});
  const auto layers = model->block_linears();
  std::vector<Tensor> before;
  for (const auto& layer : layers) before.push_back(layer->weight.detach().clone());
  const auto rises = loss_rises(layers, objective, source, context,
                                [&](size_t i, double density) { return layers[i]->weight * (i == 0 ? 1.0 : density); });
  REQUIRE(rises.size() == layers.size());
  for (size_t i = 0; i < layers.size(); ++i) CHECK(torch::equal(layers[i]->weight, before[i]));
  for (const auto rise : rises[0]) CHECK(rise == 0.0);
  const at::NoGradGuard no_grad;
  const auto mean_loss = [&] {
    double sum = 0.0;
    for (int64_t i = 0; i < source.size(); ++i) sum += objective.loss(source.collate(std::vector{i})).item<double>();
    return sum / static_cast<double>(source.size());
  };
  const auto whole = mean_loss();
  double largest = 0.0;
  for (size_t step = 0; step < tried_densities.size(); ++step) {
    layers[1]->weight.copy_(before[1] * tried_densities[step]);
    largest = std::max(largest, mean_loss() - whole);
    CHECK(rises[1][step] == Approx(largest).margin(1e-9));
  }
}

TEST_CASE("a budget by sensitivity leaves its density, most where the loss asks for it") {
  auto model = tiny_model();
  {
    // Nothing comes of this layer's units, whatever reads them.
    const at::NoGradGuard no_grad;
    auto ffn = model->encoder->layers[0]->linears();
    ffn.back()->weight.mul_(1e-6);
  }
  const auto layers = model->block_linears();
  const auto own = model->encoder->layers[0]->linears().back();
  auto source = std::make_shared<OneBatch>(golden_batch(golden_tensors("model/tiny.safetensors")), 1);
  LabelObjective objective(model);
  const auto context = quiet_context({});
  const PatternShape shape{.columns = 4};
  const auto scores = block_scores(model, layers, shape, ImportanceMethod::magnitude,
                                   losses(objective, *source, context), *source, context);
  const at::NoGradGuard no_grad;
  const auto rises = loss_rises(layers, objective, *source, context, [&](size_t i, double density) {
    const auto& weight = layers[i]->weight;
    return weight * kept_weights(scores[i], shape, density, weight.size(0), weight.size(1));
  });
  std::vector<DensityCurve> curves;
  double all = 0.0, kept = 0.0;
  for (size_t i = 0; i < layers.size(); ++i) {
    curves.push_back({weight_costs(layers[i]->rows(), layers[i]->columns()), rises[i]});
    all += static_cast<double>(layers[i]->rows() * layers[i]->columns());
  }
  const auto densities = choose_densities(curves, 0.3 * all, Steps::parts);
  for (size_t i = 0; i < layers.size(); ++i) {
    kept += densities[i] * static_cast<double>(layers[i]->rows() * layers[i]->columns());
    if (layers[i].get() == own.get()) CHECK(densities[i] == tried_densities.back());
  }
  CHECK(kept == Approx(0.3 * all));
}

}  // namespace
}  // namespace compression::prune
