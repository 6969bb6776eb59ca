// Training that is stopped, killed or gone astray, and goes on.

#include <spdlog/sinks/ostream_sink.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "compress/base/error.h"
#include "compress/state_dict/state_dict.h"
#include "compress/train/adamw.h"
#include "compress/train/train_state.h"
#include "compress/train/trainer.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

struct Killed {};  // thrown where a killed process would be gone: nothing may be saved any more

constexpr double rate = 1e-3;

/// Three batches an epoch, two of them a step, dropout, and a rate that rises until it destroys the model, so that the
/// best check is not the last.
TrainConfig thorough_config() {
  return {.epochs = 6,
          .batch_size = 2,
          .learning_rate = 1.0,
          .warmup_ratio = 1.0,
          .schedule = Schedule::constant,
          .gradient_accumulation = 2,
          .precision = Precision::float32,
          .evaluate_every = 5,
          .log_every = 2,
          .snapshot_every = 3,
          .spike_factor = 0.0,
          .hidden_dropout = 0.1,
          .attention_dropout = 0.1};
}

/// One batch a step and a constant rate: 21 steps.
TrainConfig plain_config() {
  return {.epochs = 7,
          .batch_size = 2,
          .learning_rate = rate,
          .warmup_ratio = 0.0,
          .schedule = Schedule::constant,
          .max_grad_norm = 0.0,
          .precision = Precision::float32,
          .log_every = 1,
          .snapshot_every = 5,
          .hidden_dropout = 0.1,
          .attention_dropout = 0.0};
}

using Inject = std::function<torch::Tensor(torch::Tensor loss, int64_t batch, double clock, int64_t call)>;

/// The loss on labels, changed as a test likes. AdamW moves `clock` down by the learning rate at each step, so that
/// what depends on it depends on the state of training alone.
class InjectedObjective : public Objective {
 public:
  InjectedObjective(Model model, Inject inject) : labels_(std::move(model)), inject_(std::move(inject)) {}

  torch::Tensor loss(const Batch& batch) override {
    const auto loss = labels_.loss(batch) + (clock_ - clock_.detach()).sum();
    return inject_ ? inject_(loss, batch.examples[0].item<int64_t>() / 2, clock_.item<double>(), ++calls_) : loss;
  }
  std::vector<torch::Tensor> parameters() override { return {clock_}; }

 private:
  LabelObjective labels_;
  Inject inject_;
  torch::Tensor clock_ = torch::zeros({1}).requires_grad_();
  int64_t calls_ = 0;
};

/// One batch of the three is hard from the thirteenth step on: all its losses but the first of the training jump.
torch::Tensor hard_text(torch::Tensor loss, int64_t batch, double clock, int64_t) {
  return batch == 1 && clock < -11.8 * rate ? loss + 100 : loss;
}

/// A rate that falls: where 13 steps lead, no number of smaller ones does.
TrainConfig falling_config() {
  auto config = plain_config();
  config.schedule = Schedule::linear;
  return config;
}

/// Weights after 13 steps of falling_config(), with which every text's loss is large.
torch::Tensor astray_at_13(torch::Tensor loss, int64_t, double clock, int64_t) {
  return std::abs(clock + rate * (13 * 21 - 78) / 21) < 0.1 * rate / 21 ? loss + 100 : loss;
}

/// What a run leaves that must not depend on interruptions.
struct Outcome {
  StateDict weights;
  nlohmann::json history;
  std::vector<nlohmann::json> metrics;  // without clock times
  int64_t calls = 0;                    // of progress after a step
};

struct RunOptions {
  Inject inject{};
  std::filesystem::path checkpoints{};
  double seconds = 0.0;
  std::function<void(int64_t call, std::atomic<bool>& stop)> after_step = [](int64_t, std::atomic<bool>&) {};
};

Outcome run(const TrainConfig& config, const RunOptions& options = {}) {
  const TemporaryFolder work;
  auto model = tiny_model();
  model->set_dropout(config.hidden_dropout, config.attention_dropout);
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), config.batch_size);
  InjectedObjective objective(model, options.inject);
  auto context = quiet_context(work.path());
  context.checkpoints = {options.checkpoints, "test", options.seconds};
  std::atomic<bool> stop{false};
  context.stop = &stop;
  Outcome outcome;
  context.progress = [&](int64_t, int64_t, std::string_view text) {
    if (text.starts_with("loss")) options.after_step(++outcome.calls, stop);
  };
  const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
  const auto result =
      train(*model, objective, source, config, [&] { return evaluate(logits, source, context); }, context);
  for (const auto& [name, tensor] : state_dict(*model)) outcome.weights[name] = tensor.clone();
  outcome.history = history_json(result);
  std::ifstream in(work / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    auto json = nlohmann::json::parse(line);
    json.erase("tokens_per_second");
    outcome.metrics.push_back(json);
  }
  return outcome;
}

void check_same(const Outcome& found, const Outcome& expected) {
  CHECK(found.history.dump() == expected.history.dump());  // as text, in which a number that is none is null
  CHECK(found.metrics == expected.metrics);
  REQUIRE(found.weights.size() == expected.weights.size());
  for (const auto& [name, tensor] : expected.weights) {
    INFO(name);
    CHECK(torch::equal(found.weights.at(name), tensor));
  }
}

/// Runs are cut at every step, as by a signal and as by a kill; each goes on to the outcome of one that was not.
void check_every_interruption(const TrainConfig& config, const Inject& inject = {}) {
  const auto undisturbed = run(config, {.inject = inject});
  for (int64_t at = 1; at <= undisturbed.calls; ++at) {
    INFO("after step call " << at);
    const TemporaryFolder stopped, killed;
    CHECK_THROWS_AS(run(config, {.inject = inject,
                                 .checkpoints = stopped.path(),
                                 .seconds = 1e9,
                                 .after_step = [&](int64_t call, auto& stop) { stop = call == at; }}),
                    Interrupted);
    const auto gone_on = run(config, {.inject = inject, .checkpoints = stopped.path(), .seconds = 1e9});
    check_same(gone_on, undisturbed);
    CHECK(gone_on.calls == undisturbed.calls - at);  // from the very step

    CHECK_THROWS_AS(run(config, {.inject = inject,
                                 .checkpoints = killed.path(),
                                 .after_step =
                                     [&](int64_t call, auto&) {
                                       if (call == at) throw Killed();
                                     }}),
                    Killed);
    const auto again = run(config, {.inject = inject, .checkpoints = killed.path()});
    check_same(again, undisturbed);
    if (at > 10) CHECK(again.calls < undisturbed.calls);
  }
}

TEST_CASE("the optimizer's state, loaded elsewhere, gives the same next step") {
  const auto start = torch::randn({3, 2}), bias = torch::randn({4});
  const auto parameters = [&] { return std::vector{start.clone().requires_grad_(), bias.clone().requires_grad_()}; };
  const auto step = [](AdamW& optimizer, std::vector<torch::Tensor>& all, double scale) {
    for (auto& p : all) p.mutable_grad() = torch::arange(p.numel(), torch::kFloat).view_as(p) * scale;
    optimizer.step(0.1);
  };
  auto first = parameters(), second = parameters();
  AdamW one(first, {}), other(second, {});
  step(one, first, 1.0);
  step(one, first, -3.0);
  const auto kept = one.state();
  const auto at_save = first[0].detach().clone();
  for (size_t i = 0; i < first.size(); ++i) second[i].detach().copy_(first[i].detach());
  step(one, first, 2.0);
  other.load_state(kept);
  CHECK(torch::equal(second[0].detach(), at_save));
  step(other, second, 2.0);
  CHECK(torch::equal(first[0], second[0]));
  CHECK(torch::equal(first[1], second[1]));

  auto fewer = kept;
  fewer.erase(fewer.begin());
  CHECK_THROWS_AS(other.load_state(fewer), CheckpointError);
  auto more = kept;
  more["another"] = torch::zeros({1});
  CHECK_THROWS_AS(other.load_state(more), CheckpointError);
  auto wrong = kept;
  wrong.begin()->second = torch::zeros({7, 7});
  CHECK_THROWS_AS(other.load_state(wrong), CheckpointError);
}

TEST_CASE("training cut at any step ends with the same bits") {
  const auto config = thorough_config();
  const auto undisturbed = run(config);
  REQUIRE(undisturbed.history.at("best") <
          undisturbed.history.at("checks").size() - 1);  // best weights are restored too
  check_every_interruption(config);
}

TEST_CASE("training cut while it validates goes on with that validation") {
  const auto config = thorough_config();
  const auto undisturbed = run(config);
  const TemporaryFolder folder, work;
  auto model = tiny_model();
  model->set_dropout(config.hidden_dropout, config.attention_dropout);
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), config.batch_size);
  InjectedObjective objective(model, {});
  auto context = quiet_context(work.path());
  context.checkpoints = {folder.path(), "test", 1e9};
  int checks = 0;
  const auto validate = [&]() -> Evaluation {
    if (++checks == 2) throw Interrupted("stopped");
    return evaluate([&](const Batch& batch) { return model->forward(batch).logits; }, source, context);
  };
  CHECK_THAT(message_of<Interrupted>([&] { train(*model, objective, source, config, validate, context); }),
             Catch::Contains("saved after step 10 of 12"));
  const auto gone_on = run(config, {.checkpoints = folder.path()});
  check_same(gone_on, undisturbed);
  CHECK(gone_on.calls == 2);
}

TEST_CASE("a state of other settings is not used") {
  const TemporaryFolder folder;
  auto config = plain_config();
  CHECK_THROWS_AS(
      run(config, {.checkpoints = folder.path(), .after_step = [](int64_t call, auto& stop) { stop = call == 7; }}),
      Interrupted);
  config.weight_decay = 0.5;
  const auto other = run(config, {.checkpoints = folder.path()});
  CHECK(other.calls == 21);
  check_same(other, run(config));
}

TEST_CASE("a loss that is no number before any change of the weights is not blamed on the learning rate") {
  const auto message = message_of<DataError>([&] {
    run(plain_config(), {.inject = [](auto loss, int64_t, double clock, int64_t) {
          return clock == 0.0 ? loss * std::numeric_limits<double>::quiet_NaN() : loss;
        }});
  });
  CHECK_THAT(message, Catch::Contains("before any change of the weights") && !Catch::Contains("learning_rate"));
}

TEST_CASE("a loss that is no number takes training back, with half the learning rate") {
  const auto result = run(plain_config(), {.inject = [](auto loss, int64_t, double, int64_t call) {
                            return call == 8 ? loss * std::numeric_limits<double>::quiet_NaN() : loss;
                          }});
  const auto& rollbacks = result.history.at("rollbacks");
  REQUIRE(rollbacks.size() == 1);
  CHECK(rollbacks[0].at("step") == 8);
  CHECK(rollbacks[0].at("back_to") == 6);  // the check at the end of an epoch is a snapshot
  CHECK(rollbacks[0].at("learning_rate_factor") == 0.5);
  CHECK_THAT(rollbacks[0].at("reason").get<std::string>(), Catch::Contains("nan"));
  CHECK(result.calls == 7 + 21 - 6);
  std::vector<int64_t> steps;
  for (const auto& line : result.metrics) {
    if (line.contains("loss")) steps.push_back(line.at("step"));
    if (line.contains("learning_rate")) CHECK(line.at("learning_rate") == (line.at("step") <= 6 ? rate : rate / 2));
  }
  CHECK(steps.size() == 21);
  CHECK(std::set(steps.begin(), steps.end()).size() == 21);
}

TEST_CASE("a gradient that is no number takes training back") {
  const auto result = run(plain_config(), {.inject = [](auto loss, int64_t, double, int64_t call) {
                            // The square root's gradient at 0 is infinite, its value is not.
                            return call == 8 ? loss + torch::sqrt(loss - loss) : loss;
                          }});
  REQUIRE(result.history.at("rollbacks").size() == 1);
  CHECK_THAT(result.history.at("rollbacks")[0].at("reason").get<std::string>(), Catch::Contains("gradient"));
  for (const auto& [name, tensor] : result.weights) CHECK(torch::isfinite(tensor).all().item<bool>());
}

TEST_CASE("a run that went back ends with the same bits wherever it is cut") {
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  SECTION("from a loss that is no number") {
    check_every_interruption(plain_config(), [=](auto loss, int64_t batch, double clock, int64_t) {
      return batch == 1 && std::abs(clock + 7 * rate) < 0.2 * rate ? loss * nan : loss;
    });
  }
  SECTION("from weights that have gone astray") {
    check_every_interruption(falling_config(), astray_at_13);
  }
  SECTION("from a hard text") {
    check_every_interruption(plain_config(), hard_text);
  }
}

TEST_CASE("a step whose loss jumps while that of other texts does not is taken, and changes nothing else") {
  const auto result = run(plain_config(), {.inject = hard_text});
  CHECK(result.history.at("rollbacks").empty());
  CHECK(result.history.at("hard_steps") >= 1);
  CHECK(result.calls == 21);
  for (const auto& line : result.metrics) {
    if (line.contains("learning_rate")) CHECK(line.at("learning_rate") == rate);
  }
}

TEST_CASE("weights that have gone astray take training back to a snapshot, with half the learning rate") {
  const auto result = run(falling_config(), {.inject = astray_at_13});
  const auto& rollbacks = result.history.at("rollbacks");
  REQUIRE(rollbacks.size() == 1);
  CHECK(rollbacks[0].at("step") == 14);
  CHECK(rollbacks[0].at("back_to") == 12);
  CHECK(rollbacks[0].at("learning_rate_factor") == 0.5);
  CHECK(result.history.at("hard_steps") == 0);
  CHECK(result.metrics.back().at("step") == 21);
}

TEST_CASE("training that has to go back too often fails, and says how it went") {
  auto config = plain_config();
  config.max_rollbacks = 2;
  int64_t calls = 0;
  const auto message = message_of<DataError>([&] {
    run(config, {.inject = [&](auto loss, int64_t, double, int64_t call) {
          calls = call;
          return call >= 8 ? loss * std::numeric_limits<double>::infinity() : loss;
        }});
  });
  CHECK_THAT(message, Catch::Contains("step 7") && Catch::Contains("loss is inf") && Catch::Contains("2 times") &&
                          Catch::Contains("learning_rate"));
  CHECK(calls == 8 + 2);
  config.max_rollbacks = 0;
  CHECK_THROWS_AS(run(config, {.inject = [](auto loss, int64_t, double, int64_t) { return loss / 0.0; }}), DataError);
}

TEST_CASE("fp16 scales the loss: too large a scale costs a step, one that collapses is an error") {
  auto config = plain_config();
  config.precision = Precision::float16;
  config.max_grad_norm = 1.0;
  config.spike_factor = 0.0;
  const auto times = [](double factor) { return [=](auto loss, int64_t, double, int64_t) { return loss * factor; }; };
  const auto usual = run(config);
  CHECK(usual.history.at("checks").back().at("validation_loss") < usual.history.at("checks")[0].at("validation_loss"));
  const auto large = run(config, {.inject = times(1e3)});
  const auto skipped = large.history.at("skipped_steps").get<int64_t>();
  CHECK(skipped > 0);
  CHECK(skipped < 21);
  CHECK(large.history.at("rollbacks").empty());
  for (const auto& [name, tensor] : large.weights) CHECK(torch::isfinite(tensor).all().item<bool>());
  config.epochs = 30;
  CHECK_THAT(message_of<DataError>([&] { run(config, {.inject = times(1e36)}); }), Catch::Contains("loss scale"));
}

TEST_CASE("fp16 training cut at any step ends with the same bits") {
  auto config = plain_config();
  config.epochs = 3;
  config.precision = Precision::float16;
  check_every_interruption(config, [](auto loss, int64_t, double, int64_t) { return loss * 1e3; });
}

TEST_CASE("the loss scale halves at an overflow and doubles after 2000 steps without one") {
  LossScale scale;
  scale.update(true);
  CHECK(scale.scale == 32768.0);
  for (int i = 0; i < 1999; ++i) scale.update(false);
  CHECK(scale.scale == 32768.0);
  scale.update(false);
  CHECK(scale.scale == 65536.0);
}

TrainState small_state(double value) {
  TrainState state;
  state.progress.step = static_cast<int64_t>(value);
  state.progress.checks = {
      {1, 0.5, Evaluation{.correct = 3, .total = 4, .loss = std::numeric_limits<double>::quiet_NaN()}}};
  state.progress.rollbacks = {{.step = 2, .reason = "the loss is nan", .loss = std::nan(""), .back_to = 1}};
  state.tensors = {{"model.w", torch::full({3}, value)},
                   {"best.w", torch::full({3}, value - 1)},
                   {"generator.cpu", torch::arange(5, torch::kByte)}};
  return state;
}

TEST_CASE("a state that is written and read is the same, numbers that are none included") {
  const TemporaryFolder folder;
  auto context = quiet_context({});
  StateFiles files(folder.path(), "f", {});
  CHECK_FALSE(files.read(*context.logger));
  const auto stopped = small_state(8);
  files.write(small_state(8), &stopped);
  files.write(small_state(9), &stopped);
  const auto found = StateFiles(folder.path(), "f", {}).read(*context.logger);
  REQUIRE(found);
  CHECK(found->snapshot.progress.step == 9);
  CHECK(std::isnan(found->snapshot.progress.checks.at(0).validation.loss));
  CHECK(std::isnan(found->snapshot.progress.rollbacks.at(0).loss));
  CHECK(found->snapshot.progress.rollbacks.at(0).back_to == 1);
  CHECK(torch::equal(found->snapshot.tensors.at("model.w"), torch::full({3}, 9.0)));
  REQUIRE(found->stopped);
  CHECK(found->stopped->progress.step == 8);
  CHECK(torch::equal(found->stopped->tensors.at("best.w"), torch::full({3}, 8.0)));  // the snapshot's
  CHECK_FALSE(StateFiles(folder.path(), "g", {}).read(*context.logger));
}

TEST_CASE("a state file cut or damaged at any byte is noticed, and the one before is used") {
  const TemporaryFolder folder;
  auto context = quiet_context({});
  StateFiles files(folder.path(), "f", {});
  files.write(small_state(1), nullptr);
  files.write(small_state(2), nullptr);
  const auto newest = folder / "state-0.safetensors";
  const auto whole = read_file(newest);
  const auto step = [&] {
    const auto found = StateFiles(folder.path(), "f", {}).read(*context.logger);
    return found ? found->snapshot.progress.step : -1;
  };
  REQUIRE(step() == 2);
  for (size_t length = 0; length < whole.size(); ++length) {
    write_file(newest, whole.substr(0, length));
    if (step() != 1) FAIL("cut to " << length << " bytes");
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    auto damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x04);
    write_file(newest, damaged);
    if (step() != 1) FAIL("damaged at byte " << at);
  }
  std::filesystem::remove(folder / "state-1.safetensors");
  CHECK(step() == -1);  // both gone: from the start
}

TEST_CASE("a state made with other threads is used, and the log says so") {
  const TemporaryFolder folder;
  StateFiles(folder.path(), "f", {{"threads", "1"}}).write(small_state(3), nullptr);
  std::ostringstream text;
  spdlog::logger logger("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  CHECK(StateFiles(folder.path(), "f", {{"threads", "2"}}).read(logger));
  CHECK_THAT(text.str(), Catch::Contains("threads 1") && Catch::Contains("it is 2"));
}

}  // namespace
}  // namespace compression
