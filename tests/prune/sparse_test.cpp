#include "prune/sparse.h"

#include "compress/base/fields.h"
#include "compress/kernels/sparse_choice.h"
#include "compress/train/trainer.h"
#include "prune/pruner.h"
#include "tests/support.h"

namespace compression::prune {
namespace {

using namespace testing;
using torch::Tensor;

TEST_CASE("blocks are summed and spread, those at the end too") {
  const auto values = torch::arange(15, torch::kFloat).reshape({3, 5});
  const PatternShape shape{.rows = 2, .columns = 4};
  const auto sums = block_sums(values, shape);
  CHECK(torch::equal(sums, torch::tensor({{0.f + 1 + 2 + 3 + 5 + 6 + 7 + 8, 4.f + 9}, {10.f + 11 + 12 + 13, 14.f}})));
  const auto spread = spread_blocks(torch::tensor({{true, false}, {false, true}}), shape, 3, 5);
  CHECK(torch::equal(spread.to(torch::kInt),
                     torch::tensor({{1, 1, 1, 1, 0}, {1, 1, 1, 1, 0}, {0, 0, 0, 0, 1}}, torch::kInt)));
}

TEST_CASE("the best blocks stay, and of N:M the best of each group") {
  const auto scores = torch::tensor({{5.f, 1.f, 3.f}, {2.f, 4.f, 0.f}});
  const auto blocks = kept_weights(scores, {.columns = 2}, 0.5, 2, 6);
  CHECK(torch::equal(blocks.to(torch::kInt), torch::tensor({{1, 1, 0, 0, 1, 1}, {0, 0, 1, 1, 0, 0}}, torch::kInt)));
  const auto weights = torch::tensor({{1.f, 4.f, 3.f, 2.f, 9.f, 8.f}});
  CHECK(torch::equal(kept_weights(weights, shape_of(SparsityPattern::two_of_four), 0.5, 1, 6).to(torch::kInt),
                     torch::tensor({{0, 1, 1, 0, 1, 1}}, torch::kInt)));
  CHECK(kept_weights(weights, shape_of(SparsityPattern::two_of_four), 0.75, 1, 6).sum().item<int64_t>() == 5);
  // Of equal ones the first.
  CHECK(torch::equal(kept_weights(torch::ones({1, 4}), {}, 0.5, 1, 4).to(torch::kInt),
                     torch::tensor({{1, 1, 0, 0}}, torch::kInt)));
}

/// The rows of a least-squares problem, and how far a sparse weight's outputs are from the dense one's.
double error_of(const Tensor& sparse, const Tensor& dense, const Tensor& inputs) {
  return inputs.mm((sparse - dense).to(torch::kDouble).t()).square().sum().item<double>();
}

TEST_CASE("SparseGPT loses less than magnitude with the same share of zeros, and never more than leaving out") {
  at::manual_seed(3);
  const auto common = torch::randn({400, 4}, torch::kDouble).mm(torch::randn({4, 48}, torch::kDouble));
  const auto inputs = torch::randn({400, 48}, torch::kDouble) * (0.2 + 2 * torch::rand({48}, torch::kDouble)) + common;
  const auto weight = torch::randn({20, 48});
  const auto gram = inputs.t().mm(inputs);
  for (const auto pattern : {SparsityPattern::unstructured, SparsityPattern::block_1x4, SparsityPattern::two_of_four}) {
    INFO(enum_name(pattern));
    const auto shape = shape_of(pattern);
    const auto result = sparse_gpt(weight, gram, shape, 0.5, 1e-4);
    const auto zeros = result.eq(0).sum().item<int64_t>();
    CHECK(zeros == 20 * 48 / 2);
    const auto squares = shape.of > 0 ? weight.square() : block_sums(weight.square(), shape);
    const auto by_magnitude = weight * kept_weights(squares, shape, 0.5, 20, 48);
    CHECK(error_of(result, weight, inputs) < 0.7 * error_of(by_magnitude, weight, inputs));
    CHECK(error_of(result, weight, inputs) < error_of(weight * result.ne(0), weight, inputs));
    // What is 0 stays 0, and nothing else goes while there are zeros enough.
    CHECK(torch::equal(sparse_gpt(result, gram, shape, 0.5, 1e-4).ne(0), result.ne(0)));
  }
  CHECK(torch::allclose(sparse_gpt(weight, gram, {}, 1.0, 1e-4), weight));
}

TEST_CASE("scores of blocks by gradients equal those of masks") {
  auto model = tiny_model();
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const OneBatch source(batch);
  LabelObjective objective(model);
  const auto context = quiet_context({});
  const PatternShape shape{.columns = 4};
  const std::vector<Linear> layers = {model->block_linears()[1]};
  const auto scores = block_scores(model, layers, shape, ImportanceMethod::first_order,
                                   losses(objective, source, context), source, context);
  // By a finite difference of the mask of one block, in double steps.
  auto weight = layers.front()->weight;
  const auto [row, block] = std::pair<int64_t, int64_t>(3, 2);
  const auto own = weight.detach().clone();
  const auto loss_with = [&](float mask) {
    const at::NoGradGuard no_grad;
    weight.copy_(own);
    weight[row].slice(0, 4 * block, 4 * block + 4).mul_(mask);
    const auto loss = objective.loss(batch).item<double>();
    weight.copy_(own);
    return loss;
  };
  const auto expected = std::abs(loss_with(1.25f) - loss_with(0.75f)) / 0.5;
  CHECK(scores[0][row][block].item<double>() == Approx(expected).epsilon(0.05).margin(1e-5));
  CHECK(scores[0].sizes() == torch::IntArrayRef({weight.size(0), (weight.size(1) + 3) / 4}));
}

TEST_CASE("wanda scores weights by what they read") {
  auto model = tiny_model();
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), 1);
  const auto context = quiet_context({});
  const std::vector<Linear> layers = {model->block_linears().front()};
  const auto scores =
      block_scores(model, layers, {}, ImportanceMethod::wanda, [] { return std::optional<Tensor>(); }, source, context);
  // All weights that read one feature are scored by the same factor.
  const auto factor = scores[0] / layers.front()->weight.detach().square();
  CHECK(torch::allclose(factor, factor[0].expand_as(factor), 1e-3, 1e-6));
  CHECK_FALSE(torch::allclose(factor[0], factor[0][0].expand_as(factor[0]), 1e-2));
}

TEST_CASE("pattern: auto is what the machine's kernels leave out, and what that brings is measured") {
  const auto pattern = resolved(SparsityPattern::automatic);
  CHECK(shape_of(pattern).rows == 1);
  CHECK(shape_of(pattern).columns == kernels::sparse_word());
  CHECK(resolved(SparsityPattern::block_4x4) == SparsityPattern::block_4x4);
  auto model = tiny_model();
  CHECK(int8_gain(layer_zeros(model)) == 1.0);  // nothing is 0
  kernels::set_sparse_choice(kernels::SparseChoice{.fewest_rows = 8, .speedup = 2.0});
  {
    const at::NoGradGuard no_grad;
    auto weight = model->block_linears()[1]->weight;
    weight.slice(1, 0, 8).zero_();
  }
  const auto zeros = layer_zeros(model);
  CHECK(int8_gain(zeros) == Approx(2.0));
  REQUIRE(zeros.size() == model->block_linears().size());
  CHECK(zeros[1].layer == 0);
  CHECK(zeros[1].name == "bert.encoder.layer.0.attention.self.key");
  CHECK(zeros[1].density == Approx(1.0 - 8.0 / static_cast<double>(zeros[1].in)));
  CHECK(zeros[1].words == Approx(zeros[1].density));
  CHECK(zeros.back().layer == static_cast<int64_t>(model->config().layers.size()) - 1);
  CHECK(zeros.front().choice.fewest_rows == 8);
  kernels::set_sparse_choice(std::nullopt);
}

TEST_CASE("training holds the zeros of the weights that it is told") {
  auto model = tiny_model();
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), 2);
  LabelObjective objective(model);
  const TemporaryFolder folder;
  auto context = quiet_context(folder.path());
  auto held = model->block_linears()[0]->weight, free = model->block_linears()[1]->weight;
  {
    const at::NoGradGuard no_grad;
    for (auto& weight : {held, free}) weight.slice(1, 0, 8).zero_();
  }
  const auto before = held.detach().clone();
  TrainConfig config;
  config.epochs = 4;
  config.learning_rate = 1e-2;
  config.precision = Precision::float32;
  const auto check = [] { return Evaluation(); };
  train(*model, objective, source, config, check, context, std::nullopt, {held});
  CHECK(held.slice(1, 0, 8).eq(0).all().item<bool>());
  CHECK_FALSE(torch::equal(held, before));
  CHECK(free.slice(1, 0, 8).ne(0).any().item<bool>());
}

}  // namespace
}  // namespace compression::prune
