#include "tests/support.h"

#include <nlohmann/json.hpp>

#include "compress/checkpoint/checkpoint.h"
#include "compress/train/adamw.h"
#include "compress/train/autocast.h"
#include "compress/train/trainer.h"
#include "compress/workflow/error.h"

namespace compression {
namespace {

using namespace testing;

TrainConfig plain_config() {
  return {.epochs = 10,
          .batch_size = 6,
          .learning_rate = 1e-3,
          .warmup_ratio = 0.2,
          .precision = Precision::float32,
          .log_every = 1,
          .hidden_dropout = 0.0,
          .attention_dropout = 0.0};
}

struct Trained {
  Model model;
  TrainResult result;
};

/// Trains the tiny model on the golden batch, checked against its own training texts.
Trained train_tiny(const TrainConfig& config, const TemporaryFolder& folder, uint64_t seed = 0,
                   int64_t batch_size = 6) {
  auto model = tiny_model();
  model->set_dropout(config.hidden_dropout, config.attention_dropout);
  if (config.hidden_dropout) model->head->dropout = *config.hidden_dropout;
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), batch_size);
  LabelObjective objective(model);
  auto context = quiet_context(folder.path());
  context.seed = seed;
  model->set_fused(fused_arithmetic(config, torch::kCPU));
  model->set_recompute(config.recompute_activations);
  const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
  auto result = train(
      *model, objective, source, config, [&] { return evaluate(logits, source, context); }, context);
  model->set_fused(std::nullopt);
  return {model, result};
}

torch::Tensor tiny_logits(Model& model) {
  const at::NoGradGuard no_grad;
  return model->forward(golden_batch(golden_tensors("model/tiny.safetensors"))).logits;
}

TEST_CASE("ten steps give what PyTorch's AdamW, clipping and schedule give") {
  const TemporaryFolder folder;
  auto trained = train_tiny(plain_config(), folder);
  CHECK(trained.result.best == 9);  // its loss falls all the way, so that the best weights are the last
  check_close(tiny_logits(trained.model), golden_tensors("model/tiny.safetensors").at("trained.logits"), 2e-4);
}

TEST_CASE("accumulated gradients of small batches train as one large batch does") {
  const TemporaryFolder folder;
  auto config = plain_config();
  auto whole = train_tiny(config, folder);
  config.gradient_accumulation = 3;
  auto parts = train_tiny(config, folder, 0, 2);
  CHECK(parts.result.steps == 10);
  check_close(tiny_logits(parts.model), tiny_logits(whole.model), 1e-4);
}

TEST_CASE("the same seed gives the same bits, another seed others") {
  auto config = plain_config();
  config.hidden_dropout = config.attention_dropout = 0.1;
  const TemporaryFolder folder;
  auto first = train_tiny(config, folder, 3), second = train_tiny(config, folder, 3),
       third = train_tiny(config, folder, 4);
  CHECK(torch::equal(tiny_logits(first.model), tiny_logits(second.model)));
  CHECK_FALSE(torch::equal(tiny_logits(first.model), tiny_logits(third.model)));
}

TEST_CASE("the weights of the best check are the model's at the end") {
  auto config = plain_config();
  config.learning_rate = 0.5;  // destroys the model after the first steps
  config.epochs = 12;
  config.schedule = Schedule::constant;
  config.warmup_ratio = 0.0;
  const TemporaryFolder folder;
  auto trained = train_tiny(config, folder);
  const auto& checks = trained.result.checks;
  const auto& best = checks.at(trained.result.best).validation;
  for (const auto& check : checks) CHECK(check.validation.value() <= best.value());
  const auto labels = golden_tensors("model/tiny.safetensors").at("labels");
  const auto right = tiny_logits(trained.model).argmax(-1).eq(labels).sum().item<int64_t>();
  CHECK(right == best.correct);
}

TEST_CASE("metrics are JSON lines with loss, learning rate and validation accuracy") {
  const TemporaryFolder folder;
  auto config = plain_config();
  config.evaluate_every = 4;
  train_tiny(config, folder);
  std::ifstream in(folder / "metrics.jsonl");
  std::vector<int64_t> losses, checks;
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.contains("loss")) losses.push_back(json.at("step"));
    if (json.contains("validation_accuracy")) checks.push_back(json.at("step"));
  }
  CHECK(losses == std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(checks == std::vector<int64_t>{4, 8, 10});
}

TEST_CASE("a loss that stays not finite ends the training with an error") {
  auto config = plain_config();
  config.learning_rate = 1e30;
  config.warmup_ratio = 0.0;
  const TemporaryFolder folder;
  const auto message = message_of<DataError>([&] { train_tiny(config, folder); });
  CHECK_THAT(message, Catch::Contains("loss is nan") && Catch::Contains("3 times") && Catch::Contains("learning_rate"));
}

TEST_CASE("a request to stop ends the training at the next step") {
  const TemporaryFolder folder;
  auto model = tiny_model();
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")));
  LabelObjective objective(model);
  auto context = quiet_context(folder.path());
  std::atomic<bool> stop{false};
  context.stop = &stop;
  int64_t steps = 0;
  context.progress = [&](int64_t done, int64_t, std::string_view) {
    steps = done;
    if (done == 3) stop = true;
  };
  CHECK_THROWS_AS(train(
                      *model, objective, source, plain_config(), [] { return Evaluation{}; }, context),
                  Interrupted);
  CHECK(steps == 3);
}

TEST_CASE("the learning rate rises over the warm-up and falls to zero") {
  CHECK(schedule_factor(Schedule::linear, 0, 100, 0.1) == 0.0);
  CHECK(schedule_factor(Schedule::linear, 5, 100, 0.1) == Approx(0.5));
  CHECK(schedule_factor(Schedule::linear, 10, 100, 0.1) == 1.0);
  CHECK(schedule_factor(Schedule::linear, 55, 100, 0.1) == Approx(0.5));
  CHECK(schedule_factor(Schedule::linear, 100, 100, 0.1) == 0.0);
  CHECK(schedule_factor(Schedule::constant, 99, 100, 0.1) == 1.0);
  CHECK(schedule_factor(Schedule::linear, 0, 1, 0.0) == 1.0);
}

TEST_CASE("clipping scales all gradients of the next step by one factor") {
  auto a = torch::ones({3}).requires_grad_(), b = torch::ones({2, 2}).requires_grad_();
  AdamW optimizer({a, b}, {});
  a.mutable_grad() = torch::full({3}, 2.0);
  b.mutable_grad() = torch::full({2, 2}, 1.0);
  const auto first_moments = [&](double max_norm, double loss_scale) {
    AdamW fresh({a, b}, {});
    const double norm = fresh.clip(max_norm, loss_scale);
    fresh.step(0.0);
    const auto state = fresh.state();
    return std::tuple(norm, state.at("0.first"), state.at("1.first"));
  };
  const auto [norm, of_a, of_b] = first_moments(1.0, 1.0);
  CHECK(norm == Approx(4.0));
  check_close(of_a, torch::full({3}, 0.1 * 0.5), 1e-6);
  check_close(of_b, torch::full({2, 2}, 0.1 * 0.25), 1e-6);
  const auto [unclipped, whole, rest] = first_moments(0.0, 1.0);
  CHECK(unclipped == Approx(4.0));
  check_close(whole, torch::full({3}, 0.2), 1e-6);
  const auto [unscaled, scaled_a, scaled_b] = first_moments(1.0, 8.0);  // the gradients are those of 8 times the loss
  CHECK(unscaled == Approx(0.5));
  check_close(scaled_a, torch::full({3}, 0.1 * 0.25), 1e-6);
}

TEST_CASE("an embedding table updated by rows has the bits that dense gradients give") {
  at::manual_seed(4);
  const auto begin = torch::randn({60, 9});
  auto dense = begin.clone().requires_grad_(), sparse = begin.clone().requires_grad_();
  AdamW of_dense({dense}, {.weight_decay = 0.1}), of_sparse({sparse}, {.weight_decay = 0.1});
  for (int step = 0; step < 400; ++step) {
    const auto ids = torch::randint(step < 200 ? 60 : 20, {5}, torch::kInt64);
    of_sparse.catch_up(sparse, ids);
    {
      const torch::NoGradGuard no_grad;
      REQUIRE(torch::equal(dense.index_select(0, ids), sparse.index_select(0, ids)));  // what a forward pass would read
    }
    const auto weights = torch::randn({5, 9});
    (torch::embedding(dense, ids) * weights).sum().backward();
    (torch::embedding(sparse, ids, -1, false, /*sparse=*/true) * weights).sum().backward();
    REQUIRE(sparse.grad().is_sparse());
    CHECK(of_dense.clip(0.0) == Approx(of_sparse.clip(0.0)));  // the sums differ in their order
    for (auto* optimizer : {&of_dense, &of_sparse}) {
      optimizer->step(1e-2);
      optimizer->zero_grad();
    }
    if (step == 250) of_sparse.load_state(of_sparse.state());
  }
  of_sparse.catch_up();
  CHECK(torch::equal(dense, sparse));
  const auto a = of_dense.state(), b = of_sparse.state();
  for (const auto& [name, tensor] : a) CHECK(torch::equal(tensor, b.at(name)));
}

TEST_CASE("training in the fused form gives what LibTorch's operators give, with recomputed activations too") {
  const auto expected = golden_tensors("model/tiny.safetensors").at("trained.logits");
  const auto distance = [&](Precision precision, bool recompute) {
    const TemporaryFolder folder;
    auto config = plain_config();
    config.precision = precision;
    config.recompute_activations = recompute;
    auto trained = train_tiny(config, folder);
    return (tiny_logits(trained.model) - expected).abs().max().item<double>();
  };
  CHECK(distance(Precision::float32, false) < 2e-4);
  CHECK(distance(Precision::float32, true) < 2e-4);
  const double int16 = distance(Precision::int16, false), bfloat16 = distance(Precision::bfloat16, false);
  CAPTURE(int16, bfloat16);
  CHECK(int16 < 0.05);
  CHECK(int16 > 1e-6);
  CHECK(distance(Precision::int16, true) == int16);
  CHECK(bfloat16 < 0.5);
}

TEST_CASE("precisions that can't be had are refused, and auto is what the device is good at") {
  TrainConfig config{.precision = Precision::int16, .fused = false};
  CHECK_THAT(message_of<ConfigError>([&] { check(config); }), Catch::Contains("int16") && Catch::Contains("fused"));
  config.fused = true;
  check(config);
  CHECK_THAT(message_of<ConfigError>([&] { resolve_precision(config, torch::kCUDA); }), Catch::Contains("int16"));
  config.precision = Precision::automatic;
  CHECK(resolve_precision(config, torch::kCUDA) == Precision::bfloat16);
  const auto on_cpu = resolve_precision(config, torch::kCPU);
  CHECK((on_cpu == Precision::bfloat16 || on_cpu == Precision::int16));
  config.fused = false;
  CHECK(resolve_precision(config, torch::kCPU) != Precision::int16);
  CHECK_FALSE(fused_arithmetic(config, torch::kCPU));
}

}  // namespace
}  // namespace compression
