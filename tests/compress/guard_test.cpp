// What a training does when its losses jump: hard texts, and weights that have gone astray.

#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/train/spike.h"
#include "compress/train/trainer.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

/// Points in the plane, in batches that are dealt anew in each epoch.
class Points : public BatchSource {
 public:
  Points(int64_t count, int64_t batch_size) : count_(count), batch_size_(batch_size) {}
  int64_t size() const override { return count_; }
  std::vector<std::vector<int64_t>> plan(int64_t epoch) const override {
    std::mt19937_64 random(static_cast<uint64_t>(epoch));
    std::vector<int64_t> order;
    for (int64_t i = 0; i < count_; ++i) {
      order.insert(order.begin() + static_cast<std::ptrdiff_t>(random() % (order.size() + 1)), i);
    }
    std::vector<std::vector<int64_t>> plan;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i % static_cast<size_t>(batch_size_) == 0) plan.emplace_back();
      plan.back().push_back(order[i]);
    }
    return plan;
  }
  Batch collate(std::span<const int64_t> examples, int64_t = 0) const override {
    Batch batch;
    batch["input_ids"] = torch::zeros({static_cast<int64_t>(examples.size()), 1}, torch::kLong);
    batch["attention_mask"] = torch::ones_like(batch.input_ids());
    batch.examples = torch::tensor(std::vector<int64_t>(examples.begin(), examples.end()));
    return batch;
  }

 private:
  int64_t count_, batch_size_;
};

/// Sixteen hidden units.
class Net : public torch::nn::Module {
 public:
  explicit Net(int64_t outputs) {
    at::manual_seed(5);
    first = register_module("first", Linear(2, 16));
    second = register_module("second", Linear(16, outputs));
    const at::NoGradGuard no_grad;
    for (auto& p : parameters()) p.normal_(0.0, 0.3);
  }
  torch::Tensor forward(const torch::Tensor& x) { return second->forward(torch::tanh(first->forward(x))); }

  Linear first{nullptr}, second{nullptr};
};

/// Which side of a line the points are on (classes), or how far from it (numbers), with a share of the labels wrong.
struct Problem {
  bool classes;
  torch::Tensor points, labels, right;

  Problem(bool classes_, int64_t count, double wrong) : classes(classes_) {
    at::manual_seed(2);
    points = torch::randn({count, 2});
    const auto distance = points.select(1, 0) + points.select(1, 1);
    right = classes ? distance.gt(0).to(torch::kLong) : distance;
    const auto changed = torch::rand({count}) < wrong;
    labels = torch::where(changed, classes ? 1 - right : right + 30.0, right);
  }

  torch::Tensor loss(const torch::Tensor& outputs, const torch::Tensor& expected) const {
    return classes ? torch::cross_entropy_loss(outputs, expected) : torch::mse_loss(outputs.squeeze(-1), expected);
  }
};

class PointsObjective : public Objective {
 public:
  PointsObjective(Net& net, const Problem& problem) : net_(net), problem_(problem) {}
  torch::Tensor loss(const Batch& batch) override {
    const auto of = [&](const torch::Tensor& t) { return t.index_select(0, batch.examples); };
    return problem_.loss(net_.forward(of(problem_.points)), of(problem_.labels));
  }

 private:
  Net& net_;
  const Problem& problem_;
};

struct Trained {
  TrainResult result;
  double loss = 0.0;                    // on the right labels
  std::vector<nlohmann::json> metrics;  // of steps
};

/// After each step `disturb` may change the weights.
Trained train_on(
    const Problem& problem, const TrainConfig& config,
    const std::function<void(int64_t step, Net&)>& disturb = [](int64_t, Net&) {}) {
  const auto owner = std::make_shared<Net>(problem.classes ? 2 : 1);
  auto& net = *owner;
  PointsObjective objective(net, problem);
  const TemporaryFolder folder;
  auto context = quiet_context(folder.path());
  int64_t calls = 0;
  context.progress = [&](int64_t, int64_t, std::string_view) {
    const at::NoGradGuard no_grad;
    disturb(++calls, net);
  };
  const auto on_right = [&] {
    const at::NoGradGuard no_grad;
    return problem.loss(net.forward(problem.points), problem.right).item<double>();
  };
  const auto validate = [&] {
    return Evaluation{.metric = Metric::mse, .values = {{Metric::mse, on_right()}}, .total = 1};
  };
  Trained trained;
  trained.result = train(net, objective, Points(problem.points.size(0), config.batch_size), config, validate, context);
  trained.loss = on_right();
  std::ifstream in(folder / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.contains("loss")) trained.metrics.push_back(json);
  }
  return trained;
}

TrainConfig steady(int64_t batch_size, double learning_rate, int64_t epochs) {
  return {.epochs = epochs,
          .batch_size = batch_size,
          .learning_rate = learning_rate,
          .warmup_ratio = 0.0,
          .schedule = Schedule::constant,
          .precision = Precision::float32,
          .log_every = 1,
          .snapshot_every = 20};
}

TEST_CASE("wrong labels and outliers neither end a training nor change its rate, whatever the batch size") {
  const bool classes = GENERATE(true, false);
  const int64_t batch_size = GENERATE(1, 2, 32);
  INFO((classes ? "classes" : "numbers") << " in batches of " << batch_size);
  const Problem problem(classes, 240, classes ? 0.05 : 0.03);
  const auto trained = train_on(problem, steady(batch_size, 5e-3, batch_size == 32 ? 60 : 6));
  CHECK(trained.result.rollbacks.empty());
  for (const auto& line : trained.metrics) REQUIRE(line.at("learning_rate") == 5e-3);
  CHECK(trained.loss < (classes ? 0.25 : 0.5));
  if (batch_size == 1) CHECK(trained.result.hard_steps > 10);
}

TEST_CASE("a rate that diverges is caught, and the message names what else it may be") {
  const int64_t batch_size = GENERATE(1, 2, 32);
  const bool at_once = GENERATE(true, false);
  INFO("in batches of " << batch_size << (at_once ? " from the first step on" : " in the end"));
  const Problem problem(false, 240, 0.03);
  auto config = steady(batch_size, 2000.0, batch_size == 32 ? 60 : 6);
  if (!at_once) config.warmup_ratio = 1.0;
  const auto message = message_of<DataError>([&] { train_on(problem, config); });
  CHECK_THAT(message, Catch::Contains("after going back 3 times") && Catch::Contains("lower learning_rate than 2000") &&
                          Catch::Contains("spike_factor above 5, or 0"));
  CHECK((message.find("larger batch_size than") != std::string::npos) == (batch_size < 16));
}

TEST_CASE("weights that were destroyed once are left behind, with half the rate and never more") {
  const int64_t batch_size = GENERATE(1, 32);
  const int64_t at = GENERATE(57, 60);  // between snapshots, and where one is due
  INFO("in batches of " << batch_size << ", after step " << at);
  const Problem problem(true, 240, 0.05);
  const auto trained =
      train_on(problem, steady(batch_size, 5e-3, batch_size == 32 ? 60 : 6), [&](int64_t step, Net& net) {
        if (step == at) net.second->weight.mul_(-20.0);
      });
  REQUIRE(trained.result.rollbacks.size() == 1);
  const auto& rollback = trained.result.rollbacks[0];
  CHECK(rollback.step >= at + 1);
  CHECK(rollback.step <= at + 2);
  CHECK(rollback.back_to < at);
  CHECK_THAT(rollback.reason, Catch::Contains("jumped"));
  for (const auto& line : trained.metrics) {
    REQUIRE(line.at("learning_rate") == (line.at("step") <= rollback.back_to ? 5e-3 : 2.5e-3));
  }
  CHECK(trained.loss < 0.25);
}

TEST_CASE("what stands out is above the limit, and above all of the recent or behind another such") {
  RecentLosses losses;
  CHECK_FALSE(losses.stands_out(1e9, 5.0));  // nothing to compare with
  losses.add(0.7);
  CHECK(losses.limit(5.0) == Approx(3.5));
  CHECK(losses.stands_out(3.6, 5.0));
  for (int i = 0; i < 40; ++i) losses.add(1.6 * std::exp(-0.05 * i));
  for (int i = 0; i < 200; ++i) {
    const double loss = i % 17 == 0 ? 0.5 : 0.01;
    CHECK_FALSE(losses.stands_out(loss, 5.0));
    losses.add(loss);
  }
  CHECK(losses.stands_out(9.0, 5.0));
  CHECK_FALSE(losses.stands_out(9.0, 0.0));
  RecentLosses small;  // of a model that knew everything from the start
  for (int i = 0; i < 40; ++i) small.add(0.01);
  CHECK_FALSE(small.stands_out(0.9, 5.0));
  CHECK(small.stands_out(1.1, 5.0));
  small.add(7.0);
  CHECK(small.stands_out(1.1, 5.0));  // the second in a row
  small.add(0.01);
  CHECK_FALSE(small.stands_out(1.1, 5.0));
  CHECK(small.stands_out(7.1, 5.0));
}

TEST_CASE("whether the weights or single texts are at fault is decided by few batches, and seldom wrong") {
  SequentialTest fine, astray, few;
  for (int i = 0; i < 5; ++i) fine.add(false);
  CHECK((fine.decided() && !fine.above()));
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(astray.decided());
    astray.add(true);
  }
  CHECK((astray.decided() && astray.above()));
  for (const bool above : {true, false, false}) few.add(above);
  CHECK((!few.decided() && !few.above()));  // one of three
  few.add(true);
  few.add(true);
  CHECK(few.above());

  const auto verdicts = [](double share) {
    std::mt19937_64 random(3);
    int above = 0;
    for (int i = 0; i < 2000; ++i) {
      SequentialTest test;
      while (!test.decided()) test.add(static_cast<double>(random() >> 11) * 0x1p-53 < share);
      above += test.above() ? 1 : 0;
    }
    return above;
  };
  CHECK(verdicts(0.05) == 0);
  CHECK(verdicts(0.1) == 0);
  CHECK(verdicts(0.2) < 20);
  CHECK(verdicts(0.5) > 1800);
  CHECK(verdicts(0.9) == 2000);
}

}  // namespace
}  // namespace compression
