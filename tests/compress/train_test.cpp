#include "tests/support.h"

#include <nlohmann/json.hpp>

#include "compress/checkpoint/checkpoint.h"
#include "compress/train/adamw.h"
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
  Classifier model;
  TrainResult result;
};

/// Trains the tiny model on the golden batch, checked against its own training texts.
Trained train_tiny(const TrainConfig& config, const TemporaryFolder& folder, uint64_t seed = 0,
                   int64_t batch_size = 6) {
  auto model = tiny_model();
  model->set_dropout(config.hidden_dropout, config.attention_dropout);
  if (config.hidden_dropout) model->config().classifier_dropout = *config.hidden_dropout;
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), batch_size);
  LabelObjective objective(model);
  auto context = quiet_context(folder.path());
  context.seed = seed;
  const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
  auto result = train(
      *model, objective, source, config, [&] { return evaluate(logits, source, context); }, context);
  return {model, result};
}

torch::Tensor tiny_logits(Classifier& model) {
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
  for (const auto& check : checks) CHECK(check.validation.accuracy() <= best.accuracy());
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

TEST_CASE("clipping scales all gradients by one factor") {
  auto a = torch::ones({3}).requires_grad_(), b = torch::ones({2, 2}).requires_grad_();
  AdamW optimizer({a, b}, {});
  a.mutable_grad() = torch::full({3}, 2.0);
  b.mutable_grad() = torch::full({2, 2}, 1.0);
  CHECK(optimizer.clip(1.0) == Approx(4.0));
  check_close(a.grad(), torch::full({3}, 0.5), 1e-5);
  check_close(b.grad(), torch::full({2, 2}, 0.25), 1e-5);
  CHECK(optimizer.clip(0.0) == Approx(1.0).epsilon(1e-4));
}

}  // namespace
}  // namespace compression
