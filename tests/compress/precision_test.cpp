// Which arithmetic `precision: auto` takes, and that a training keeps it.

#include "compress/train/precision.h"

#include <spdlog/sinks/ostream_sink.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "compress/base/error.h"
#include "compress/state_dict/state_dict.h"
#include "compress/train/trainer.h"
#include "compress/workflow/machine.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Timing = PrecisionChoice::Timing;

/// Timers of fixed times, and how often they were made.
struct FakeTimers {
  std::map<Precision, double> seconds;
  int made = 0;
  std::function<ProductTimer(const Workload&)> make() {
    return [this](const Workload&) {
      ++made;
      return [this](Precision precision) { return seconds.at(precision); };
    };
  }
};

/// fp32 and int16 as given; bf16, where the processor has it, between them.
FakeTimers timers(double float32, double int16) {
  return {{{Precision::float32, float32}, {Precision::int16, int16}, {Precision::bfloat16, std::max(float32, int16)}}};
}

struct Logged {
  std::ostringstream text;
  Context context;
  explicit Logged(const std::filesystem::path& cache = {}, const std::filesystem::path& checkpoints = {}) {
    context.logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
    context.cache_folder = cache;
    context.checkpoints = {checkpoints, "training", 0.0};
  }
};

OneBatch tiny_source(int64_t batch_size = 2) {
  return OneBatch(golden_batch(golden_tensors("model/tiny.safetensors")), batch_size);
}

TEST_CASE("the fastest arithmetic is taken, and of those that are about as fast the most exact") {
  const auto chosen = [](double float32, double int16, double bfloat16) {
    const std::vector<Timing> timings = {
        {Precision::float32, float32}, {Precision::int16, int16}, {Precision::bfloat16, bfloat16}};
    return fastest(timings);
  };
  CHECK(chosen(93, 68, 156) == Precision::int16);
  CHECK(chosen(35, 20, 22.2) == Precision::int16);
  CHECK(chosen(35, 20, 9) == Precision::bfloat16);
  CHECK(chosen(20, 33, 41) == Precision::float32);
  CHECK(chosen(20.9, 20, 30) == Precision::float32);  // by less than 5 %
  CHECK(chosen(30, 20.9, 20) == Precision::int16);
  CHECK_THROWS_AS(fastest({}), std::invalid_argument);
}

TEST_CASE("arithmetics are timed by turns; medians count, and the first round does not") {
  const std::vector<Precision> candidates = {Precision::float32, Precision::int16};
  std::vector<Precision> asked;
  const auto timings = time_products(candidates, [&](Precision precision) {
    asked.push_back(precision);
    const auto round = (asked.size() - 1) / 2;
    const double usual = precision == Precision::float32 ? 0.004 : 0.002;
    return round == 0 || round == 2 ? 1.0 : usual;  // the machine had something else to do
  });
  CHECK((timings == std::vector<Timing>{{Precision::float32, 4.0}, {Precision::int16, 2.0}}));
  REQUIRE(asked.size() >= 8);
  for (size_t i = 0; i < asked.size(); ++i) CHECK(asked[i] == candidates[i % 2]);
}

TEST_CASE("a workload is the model's own layers and the tokens of a batch") {
  const auto model = tiny_model();
  const auto source = tiny_source();
  const auto work = workload_of(*model, source, {.gradient_accumulation = 3});
  CHECK(work.batches == 3);
  const auto& config = model->config();
  const auto hidden = config.hidden_size, inner = config.layers[0].mlp.units;
  int64_t square = 0, up = 0;
  for (const auto& [in, out, count] : work.layers) {
    if (in == hidden && out == hidden) square = count;
    if (in == hidden && out == inner) up = count;
  }
  const auto layers = static_cast<int64_t>(config.layers.size());
  CHECK(square == 4 * layers + 1);  // and the head's
  CHECK(up == layers);
  std::vector<int64_t> tokens;
  for (const auto& batch : source.plan(0)) {
    tokens.push_back(source.collate(batch).attention_mask.sum().item<int64_t>());
  }
  std::sort(tokens.begin(), tokens.end());
  CHECK(work.tokens == tokens[tokens.size() / 2]);
}

TEST_CASE("products are timed in every arithmetic, and LibTorch's generator does not notice") {
  at::manual_seed(11);
  const auto before = at::globalContext().defaultGenerator(torch::kCPU).get_state();
  const auto timer = product_timer({.layers = {{48, 96, 2}, {96, 48, 2}}, .tokens = 40});
  for (const auto precision : {Precision::float32, Precision::int16, Precision::bfloat16}) {
    CHECK(timer(precision) > 0.0);
  }
  CHECK(torch::equal(at::globalContext().defaultGenerator(torch::kCPU).get_state(), before));
  // Few tokens stand for many: the weight is converted once in either case.
  const auto many = product_timer({.layers = {{1024, 1024, 1}}, .tokens = 1 << 20});
  CHECK(many(Precision::float32) > 1e-3);
}

TEST_CASE("auto is measured once for a model and machine, and told with its figures") {
  const TemporaryFolder folder;
  const auto model = tiny_model();
  const auto source = tiny_source();
  auto fake = timers(0.004, 0.002);
  Logged first(folder / "cache"), second(folder / "cache");
  const auto choice = choose_precision({}, *model, source, first.context, fake.make());
  CHECK(choice.precision == Precision::int16);
  CHECK(choice.automatic);
  CHECK(choice.processor == this_machine().processor);
  CHECK_THAT(first.text.str(), Catch::Contains("precision: int16 (auto; products of a step") &&
                                   Catch::Contains("fp32 4.00 ms, int16 2.00 ms") && Catch::Contains(choice.processor));
  fake.seconds[Precision::float32] = 0.001;  // another time it would be otherwise
  CHECK(choose_precision({}, *model, source, second.context, fake.make()) == choice);
  CHECK(fake.made == 1);
  CHECK_THAT(second.text.str(), Catch::Contains("measured before"));
  CHECK(choose_precision({}, *model, tiny_source(3), second.context, fake.make()).precision == Precision::float32);
  CHECK(fake.made == 2);

  const auto json = choice_json(choice);
  CHECK(json.at("arithmetic") == "int16");
  CHECK(json.at("measured").at("milliseconds").at("fp32") == 4.0);
  CHECK(json.at("measured").at("milliseconds").at("int16") == 2.0);
  CHECK(json.at("measured").at("tokens") == choice.tokens);
  CHECK(choice_json({.precision = Precision::float16}) == nlohmann::json{{"arithmetic", "fp16"}});
}

TEST_CASE("without a folder to keep it in, auto is measured each time") {
  auto fake = timers(0.004, 0.002);
  Logged logged;
  for (int i = 1; i <= 2; ++i) {
    choose_precision({}, *tiny_model(), tiny_source(), logged.context, fake.make());
    CHECK(fake.made == i);
  }
}

TEST_CASE("a kept choice that is damaged is told, and measured anew") {
  const TemporaryFolder folder;
  auto fake = timers(0.004, 0.002);
  for (const std::string damage : {"[", "[]", "{\"KEY\": 3}", "{\"KEY\": {\"arithmetic\": \"fp99\"}}",
                                   "{\"KEY\": {\"arithmetic\": \"fp32\", \"measured\": {}}}"}) {
    INFO(damage);
    std::filesystem::remove_all(folder / "training");
    auto text = damage;
    if (const auto at = text.find("KEY"); at != std::string::npos) text.replace(at, 3, "training");
    std::filesystem::create_directories(folder / "training");
    write_file(folder / "training/precision.json", text);
    Logged logged({}, folder / "training");
    CHECK(choose_precision({}, *tiny_model(), tiny_source(), logged.context, fake.make()).precision ==
          Precision::int16);
    CHECK_THAT(logged.text.str(), Catch::Contains("precision.json") && Catch::Contains("chosen anew"));
    Logged again({}, folder / "training");
    CHECK(choose_precision({}, *tiny_model(), tiny_source(), again.context, fake.make()).precision == Precision::int16);
    CHECK_THAT(again.text.str(), Catch::Contains("as this training began"));
  }
}

TEST_CASE("precisions that can't be had are refused, and auto is what the device and the form can") {
  const auto model = tiny_model();
  const auto source = tiny_source();
  Logged logged;
  TrainConfig config{.precision = Precision::int16, .fused = false};
  CHECK_THAT(message_of<ConfigError>([&] { check(config); }), Catch::Contains("int16") && Catch::Contains("fused"));
  config.fused = true;
  check(config);
  auto cuda = logged.context;
  cuda.device = torch::kCUDA;
  CHECK_THAT(message_of<ConfigError>([&] { choose_precision(config, *model, source, cuda); }),
             Catch::Contains("int16"));
  config.precision = Precision::automatic;
  auto fake = timers(0.004, 0.002);
  CHECK(choose_precision(config, *model, source, cuda, fake.make()).precision == Precision::bfloat16);
  CHECK(fake.made == 0);
  CHECK_THROWS_AS(fused_arithmetic(config, torch::kCPU), std::invalid_argument);
  config.fused = false;
  CHECK(choose_precision(config, *model, source, logged.context, fake.make()).precision != Precision::int16);
  CHECK_FALSE(fused_arithmetic(config, torch::kCPU));

  const auto candidates = precision_candidates(/*fused=*/true);
  CHECK(candidates.front() == Precision::float32);
  const bool has = std::ranges::find(candidates, Precision::bfloat16) != candidates.end();
  CHECK(has == (processor_has("avx512_bf16") || processor_has("amx_bf16")));
}

TEST_CASE("a module that does not run in the fused form is not trained in int16") {
  auto fake = timers(0.004, 0.002);
  Logged logged;
  const auto deberta = load_model(golden("model/families/deberta-v2")).model;
  CHECK(choose_precision({}, *deberta, tiny_source(), logged.context, fake.make()).precision != Precision::int16);
}

TEST_CASE("a stopped training goes on with its arithmetic, to the same bits, whatever would be faster now") {
  const TrainConfig config{.epochs = 4,
                           .batch_size = 2,
                           .learning_rate = 1e-3,
                           .evaluate_every = 4,
                           .hidden_dropout = 0.1,
                           .attention_dropout = 0.1};
  const auto run = [&](const std::filesystem::path& checkpoints, FakeTimers fake, int64_t stop_at) {
    const TemporaryFolder work;
    auto model = tiny_model();
    model->set_dropout(config.hidden_dropout, config.attention_dropout);
    const auto source = tiny_source(config.batch_size);
    LabelObjective objective(model);
    auto context = quiet_context(work.path());
    context.checkpoints = {checkpoints, "training", 1e9};
    std::atomic<bool> stop{false};
    context.stop = &stop;
    context.progress = [&](int64_t done, int64_t, std::string_view text) {
      if (text.starts_with("loss")) stop = done == stop_at;
    };
    const auto choice = choose_precision(config, *model, source, context, fake.make());
    auto chosen = config;
    chosen.precision = choice.precision;
    model->set_fused(fused_arithmetic(chosen, torch::kCPU));
    const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
    const auto result =
        train(*model, objective, source, config, [&] { return evaluate(logits, source, context); }, context, choice);
    model->set_fused(std::nullopt);
    return std::pair(state_dict(*model), history_json(result));
  };
  const TemporaryFolder folder;
  const auto [weights, history] = run(folder / "whole", timers(0.004, 0.002), 0);
  CHECK(history.at("precision").at("arithmetic") == "int16");
  const auto [other, others] = run(folder / "other", timers(0.002, 0.004), 0);
  CHECK(others.at("precision").at("arithmetic") == "fp32");
  const auto same = [](const StateDict& a, const StateDict& b) {
    return std::ranges::all_of(a, [&](const auto& t) { return torch::equal(t.second, b.at(t.first)); });
  };
  CHECK_FALSE(same(weights, other));
  CHECK_THROWS_AS(run(folder / "parts", timers(0.004, 0.002), 5), Interrupted);
  const auto [gone_on, again] = run(folder / "parts", timers(0.002, 0.004), 0);
  CHECK(same(gone_on, weights));
  CHECK(again == history);
}

TEST_CASE("train() chooses by itself where nobody has") {
  const TemporaryFolder work;
  auto model = tiny_model();
  const auto source = tiny_source();
  LabelObjective objective(model);
  Logged logged(work / "cache");
  logged.context.work_folder = work.path();
  const auto result = train(*model, objective, source, {.epochs = 1}, [] { return Evaluation{}; }, logged.context);
  CHECK(result.precision.automatic);
  CHECK(result.precision.precision != Precision::automatic);
  CHECK(result.precision.timings.size() == precision_candidates(true).size());
  CHECK_THAT(logged.text.str(), Catch::Contains("precision: "));
  CHECK(std::filesystem::exists(work / "cache/precision.json"));
}

}  // namespace
}  // namespace compression
