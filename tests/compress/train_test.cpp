#include "compress/train/precision.h"  // fused_arithmetic
#include "tests/support.h"

#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/model/autocast.h"
#include "compress/state_dict/state_dict.h"
#include "compress/task/task.h"
#include "compress/train/adamw.h"
#include "compress/train/trainer.h"

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
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), batch_size);
  LabelObjective objective(model);
  auto context = quiet_context(folder.path());
  context.seed = seed;
  model->set_fused(fused_arithmetic(config, torch::kCPU));
  model->set_recompute(config.recompute_activations);
  const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
  auto result = train(*model, objective, source, config, [&] { return evaluate(logits, source, context); }, context);
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

TEST_CASE("training in 16 bits goes where training in fp32 goes") {
  const auto [precision, fused] = GENERATE(std::pair{Precision::float16, false}, std::pair{Precision::bfloat16, false},
                                           std::pair{Precision::bfloat16, true}, std::pair{Precision::int16, true});
  INFO(enum_name(precision) << (fused ? ", fused" : ""));
  const TemporaryFolder folder;
  auto config = plain_config();
  config.precision = precision;
  config.fused = fused;
  auto trained = train_tiny(config, folder), start = Trained{tiny_model(), {}};
  const auto expected = golden_tensors("model/tiny.safetensors").at("trained.logits");
  const auto way = (expected - tiny_logits(start.model)).norm().item<double>();
  CHECK((tiny_logits(trained.model) - expected).norm().item<double>() < 0.15 * way);
}

TEST_CASE("autocast reads parameters as they are now, in each scope inside of another") {
  const OrdinaryMode around(torch::kCPU);
  const auto weight = torch::ones({4, 4}).requires_grad_();
  const auto product = [&] {
    const Autocast bfloat16(torch::kBFloat16, torch::kCPU);
    return torch::linear(torch::ones({1, 4}), weight).sum().item<double>();
  };
  CHECK(product() == 16.0);
  {
    const at::NoGradGuard no_grad;
    weight.mul_(2.0);
  }
  CHECK(product() == 32.0);
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
  config.spike_factor = 0.0;
  const TemporaryFolder folder;
  auto trained = train_tiny(config, folder);
  const auto& checks = trained.result.checks;
  const auto& best = checks.at(trained.result.best).validation;
  for (const auto& check : checks) CHECK(check.validation.value() <= best.value());
  const auto labels = golden_tensors("model/tiny.safetensors").at("labels");
  const auto right = tiny_logits(trained.model).argmax(-1).eq(labels).sum().item<int64_t>();
  CHECK(right == best.correct);
}

struct ToValues {
  TrainResult result;
  Model model;
  std::vector<torch::Tensor> weights;  // of the classifier at each check
};

/// Trains where the checks find the values, one after the other, whatever the model has become.
ToValues train_to_values(const TrainConfig& config, Metric metric, const std::vector<double>& values) {
  const TemporaryFolder folder;
  auto model = tiny_model();
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")));
  LabelObjective objective(model);
  auto context = quiet_context(folder.path());
  std::vector<torch::Tensor> weights;
  const auto validate = [&] {
    weights.push_back(model->head->classifier->weight.detach().clone());
    return Evaluation{.metric = metric, .values = {{metric, values.at(weights.size() - 1)}}, .total = 1};
  };
  auto result = train(*model, objective, source, config, validate, context);
  return {std::move(result), model, std::move(weights)};
}

TEST_CASE(
    "the best check is the highest, or of a metric of which less is better the lowest; what is no number is not") {
  const auto [metric, values, best] =
      GENERATE(std::tuple(Metric::pearson, std::vector{0.5, 0.7, 0.6}, 1),
               std::tuple(Metric::mse, std::vector{0.5, 0.7, 0.3}, 2),
               std::tuple(Metric::perplexity, std::vector{std::nan(""), 70.0, 300.0}, 1));
  auto config = plain_config();
  config.epochs = 3;
  const auto [result, model, weights] = train_to_values(config, metric, values);
  CHECK(result.best == static_cast<size_t>(best));
  CHECK(torch::equal(model->head->classifier->weight, weights.at(static_cast<size_t>(best))));
}

TEST_CASE("a step without a label is not taken, and leaves the optimizer as it was") {
  const TemporaryFolder folder, other;
  auto model = tiny_model();
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto config = plain_config();
  config.epochs = 2;
  config.schedule = Schedule::constant;
  config.warmup_ratio = 0.0;
  const auto weights_after = [&](const Batch& all, int64_t batch_size, const std::filesystem::path& path) {
    auto own = tiny_model();
    own->set_dropout(0.0, 0.0);
    LabelObjective objective(own);
    auto context = quiet_context(path);
    train(*own, objective, OneBatch(all, batch_size), config, [] { return Evaluation{}; }, context);
    return own->head->classifier->weight.detach().clone();
  };
  const auto expected = weights_after(batch, 6, folder.path());
  const auto twice = [](const torch::Tensor& t) { return torch::cat({t, t}); };
  const Batch both{twice(batch.input_ids), twice(batch.attention_mask), twice(batch.token_type_ids),
                   torch::cat({batch.labels, torch::full_like(batch.labels, ignored_label)}), torch::arange(12)};
  CHECK(torch::equal(weights_after(both, 6, other.path()), expected));
  std::ifstream in(other / "metrics.jsonl");
  int64_t lines = 0;
  for (std::string line; std::getline(in, line);) lines += nlohmann::json::parse(line).contains("loss") ? 1 : 0;
  CHECK(lines == 2);
}

TEST_CASE("hidden_dropout is in place of the head's too, and goes back to the config's") {
  for (const auto* name : {"model/tiny", "model/families/roberta", "model/families/deberta-v2"}) {
    INFO(name);
    auto model = load_model(golden(name)).model;
    const auto batch = golden_batch(golden_tensors(std::string(name) + ".safetensors"));
    const auto before = model->head->dropout;
    CHECK(before > 0.0);
    model->train();
    const at::NoGradGuard no_grad;
    model->set_dropout(0.0, 0.0);
    const auto logits = model->forward(batch).logits;
    model->eval();
    CHECK(torch::equal(model->forward(batch).logits, logits));
    model->set_dropout(std::nullopt, std::nullopt);
    CHECK(model->head->dropout == before);
  }
  auto spans = load_model(golden("model/heads/bert.question_answering")).model;
  spans->set_dropout(0.5, 0.5);
  CHECK(spans->head->dropout == 0.0);
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
  CHECK_THROWS_AS(train(*model, objective, source, plain_config(), [] { return Evaluation{}; }, context), Interrupted);
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

TEST_CASE("the cosine schedule is transformers'") {  // get_cosine_schedule_with_warmup(10, 100)
  for (const auto& [step, expected] : {std::pair{0, 0.0},
                                       {5, 0.5},
                                       {10, 1.0},
                                       {30, 0.883022221559489},
                                       {55, 0.5},
                                       {99, 0.00030458649045211894},
                                       {100, 0.0}}) {
    CHECK(schedule_factor(Schedule::cosine, step, 100, 0.1) == Approx(expected).margin(1e-12));
  }
}

TEST_CASE("smoothed labels and weights of classes give PyTorch's cross-entropy, in whatever batches") {
  const auto logits =
      torch::tensor({1.0f, -0.5f, 0.25f, 0.1f, 0.2f, 0.3f, -1.0f, 2.0f, 0.5f, 0.3f, 0.1f, -0.2f}).view({4, 3});
  const auto labels = torch::tensor({0, 2, int(ignored_label), 1}, torch::kLong),
             mask = torch::ones({4, 3}, torch::kLong);
  const auto weights = torch::tensor({0.5f, 2.0f, 1.25f});
  const auto loss = [&](const LabelLoss& options) {
    return label_loss(TaskType::classification, logits, labels, mask, options).item<double>();
  };
  CHECK(loss({.smoothing = 0.1}) == Approx(0.901397168636322).epsilon(1e-6));  // torch.nn.CrossEntropyLoss
  CHECK(loss({.class_weights = weights}) == Approx(0.9835454225540161).epsilon(1e-6));
  CHECK(loss({.smoothing = 0.2, .class_weights = weights}) == Approx(1.0414490699768066).epsilon(1e-6));

  auto model = tiny_model();
  const auto whole = golden_batch(golden_tensors("model/tiny.safetensors"));
  LabelObjective objective(model, {.smoothing = 0.1, .class_weights = weights});
  const at::NoGradGuard no_grad;
  double parts = 0.0;
  for (int64_t i = 0; i < whole.size(); ++i) {
    const auto row = [&](const torch::Tensor& t) { return t.slice(0, i, i + 1); };
    const Batch one{row(whole.input_ids), row(whole.attention_mask), row(whole.token_type_ids), row(whole.labels),
                    torch::arange(1)};
    parts += objective.part(one, objective.counts(whole)).item<double>();
  }
  CHECK(parts == Approx(objective.loss(whole).item<double>()).epsilon(1e-5));
  CHECK(torch::equal(objective.counts_by_text(whole).to(torch::kFloat), weights.index_select(0, whole.labels)));
}

TEST_CASE("training ends after as many evaluations without a better one as its patience, and with the best weights") {
  auto config = plain_config();
  config.epochs = 10;
  config.patience = 2;
  const auto [result, model, weights] = train_to_values(config, Metric::pearson, {0.5, 0.7, 0.6, 0.8, 0.8, 0.7, 0.9});
  CHECK(result.checks.size() == 6);
  CHECK(result.best == 3);
  CHECK(result.steps == 6);
  CHECK(torch::equal(model->head->classifier->weight, weights.at(3)));
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

}  // namespace
}  // namespace compression
