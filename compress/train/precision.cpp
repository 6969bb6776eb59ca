#include "compress/train/precision.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "compress/base/error.h"            // ConfigError
#include "compress/base/files.h"            // make_folder
#include "compress/base/fingerprint.h"      // fingerprint
#include "compress/base/json_file.h"        // read_json_file, write_text_file
#include "compress/kernels/int16_matmul.h"  // pack_weight
#include "compress/model/autocast.h"        // OrdinaryMode, fused_arithmetic
#include "compress/model/fused.h"           // can_fuse, linear_products
#include "compress/model/model.h"           // ModelImpl
#include "compress/train/spike.h"           // median
#include "compress/workflow/machine.h"      // processor_has, this_machine

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr double tolerance = 1.05;                // of what is still as fast as the fastest
constexpr int least_rounds = 3, most_rounds = 9;  // of measuring
constexpr auto time_for_rounds = std::chrono::milliseconds(500);
constexpr size_t measured_layers = 4;       // kinds of layers that are timed
constexpr double operations_a_round = 3e9;  // so many tokens are timed
constexpr int64_t least_rows = 64;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Where layers compute in their fused form, as far as the model decides it.
bool runs_fused(const torch::nn::Module& module, const TrainConfig& config) {
  const auto* model = module.as<ModelImpl>();
  return config.fused && model != nullptr && can_fuse(model->config());
}

/// One kind of layer with operands for its products.
class TimedLayer {
 public:
  TimedLayer(const Workload::Layers& layers, int64_t rows, at::Generator generator)
      : linear_(layers.in, layers.out), count_(layers.count) {
    const torch::NoGradGuard no_grad;
    const auto fill = [&](const torch::Tensor& t) { return t.uniform_(-1.0, 1.0, generator); };
    fill(linear_->weight);
    fill(linear_->bias);
    x_ = fill(torch::empty({rows, layers.in}, torch::kFloat));
    dy_ = fill(torch::empty({rows, layers.out}, torch::kFloat));
  }

  /// Seconds of all layers of the kind: the weight converted once, the products of so many times the rows.
  double time(Arithmetic arithmetic, double times) {
    const torch::NoGradGuard no_grad;
    const auto begin = Clock::now();
    convert(arithmetic);
    const auto conversion = seconds_since(begin);
    linear_products(*linear_, x_, dy_, arithmetic);  // renews the layer's own copy of its weight
    linear_->weight.mutable_grad().reset();
    const auto start = Clock::now();
    linear_products(*linear_, x_, dy_, arithmetic);
    const auto products = seconds_since(start);
    linear_->weight.mutable_grad().reset();
    return static_cast<double>(count_) * (conversion + products * times);
  }

 private:
  void convert(Arithmetic arithmetic) {
    const auto& weight = linear_->weight;
    if (arithmetic == Arithmetic::bfloat16) weight.detach().to(torch::kBFloat16);
    if (arithmetic == Arithmetic::int16) {
      kernels::pack_weight(weight.data_ptr<float>(), weight.size(0), weight.size(1), packed_);
    }
  }

  Linear linear_;
  int64_t count_;
  torch::Tensor x_, dy_;
  kernels::Int16Weight packed_;
};

/// Choices by key, in a file that may be removed at any time.
class ChoiceFile {
 public:
  /// An empty folder: nothing is kept.
  ChoiceFile(const fs::path& folder, std::string key) : folder_(folder), key_(std::move(key)) {}

  std::optional<PrecisionChoice> find(spdlog::logger& logger) const {
    try {
      const auto all = content();
      if (all.contains(key_)) return read(all.at(key_));
    } catch (const std::exception& error) {
      logger.warn("{}; precision is chosen anew", error.what());
    }
    return std::nullopt;
  }

  void keep(const PrecisionChoice& choice) const {
    if (folder_.empty()) return;
    make_folder(folder_);
    auto all = json::object();
    try {
      all = content();
    } catch (const std::exception&) {  // find() has told of it
    }
    all[key_] = choice_json(choice);
    write_text_file(file(), all.dump(1) + "\n");
  }

 private:
  fs::path file() const { return folder_ / "precision.json"; }

  json content() const {
    std::error_code unreadable;
    if (folder_.empty() || !fs::exists(file(), unreadable)) return json::object();
    auto all = read_json_file(file());
    if (!all.is_object()) throw CheckpointError(file().string() + ": found no object");
    return all;
  }

  PrecisionChoice read(const json& kept) const try {
    PrecisionChoice choice{.precision = named(kept.at("arithmetic")), .automatic = true};
    if (!kept.contains("measured")) return choice;
    const auto& measured = kept.at("measured");
    for (const auto precision : {Precision::float32, Precision::int16, Precision::bfloat16}) {
      const auto found = measured.at("milliseconds").find(enum_name(precision));
      if (found != measured.at("milliseconds").end()) choice.timings.push_back({precision, *found});
    }
    choice.tokens = measured.at("tokens");
    choice.processor = measured.at("processor");
    choice.threads = measured.at("threads");
    return choice;
  } catch (const json::exception& error) {
    throw CheckpointError(file().string() + ": " + error.what());
  }

  Precision named(const std::string& name) const {
    for (const auto& [value, text] : enum_names(Precision{})) {
      if (text == name && value != Precision::automatic) return value;
    }
    throw CheckpointError(file().string() + ": found an arithmetic that there is not");
  }

  fs::path folder_;
  std::string key_;
};

/// What decides a measurement's outcome.
std::string workload_key(const Workload& work, std::span<const Precision> candidates, const Machine& machine) {
  json all = {{"processor", machine.processor},
              {"extensions", machine.extensions},
              {"instruction_set", machine.instruction_set},
              {"libtorch", machine.libtorch},
              {"threads", machine.threads},
              {"tokens", work.tokens},
              {"batches", work.batches}};
  for (const auto precision : candidates) all["candidates"].push_back(enum_name(precision));
  for (const auto& [in, out, count] : work.layers) all["layers"].push_back({in, out, count});
  return fingerprint(all.dump());
}

}  // namespace

std::optional<torch::Dtype> autocast_dtype(Precision precision) {
  if (precision == Precision::bfloat16) return torch::kBFloat16;
  if (precision == Precision::float16) return torch::kHalf;
  return std::nullopt;
}

std::optional<Arithmetic> fused_arithmetic(const TrainConfig& config, torch::Device device) {
  if (!config.fused || !device.is_cpu()) return std::nullopt;
  switch (config.precision) {
    case Precision::int16:
      return Arithmetic::int16;
    case Precision::bfloat16:
      return Arithmetic::bfloat16;
    case Precision::float32:
      return Arithmetic::float32;
    case Precision::float16:
      return std::nullopt;
    case Precision::automatic:
      break;
  }
  throw std::invalid_argument("precision: auto is still to be chosen");
}

Workload workload_of(const torch::nn::Module& module, const BatchSource& source, const TrainConfig& config) {
  std::map<std::pair<int64_t, int64_t>, int64_t> counts;
  const auto add = [&](const torch::Tensor& weight) {
    if (weight.defined() && weight.numel() > 0) ++counts[{weight.size(1), weight.size(0)}];
  };
  for (const auto& part : module.modules()) {
    if (const auto* own = part->as<LinearImpl>()) add(own->weight);
    if (const auto* other = part->as<torch::nn::LinearImpl>()) add(other->weight);
  }
  Workload work{.batches = config.gradient_accumulation};
  for (const auto& [shape, count] : counts) work.layers.push_back({shape.first, shape.second, count});
  std::ranges::stable_sort(work.layers, std::greater(), [](const auto& l) { return l.in * l.out * l.count; });

  const auto plan = source.plan(0);
  std::vector<double> tokens;
  const auto looked_at = std::min<size_t>(plan.size(), 9);
  for (size_t i = 0; i < looked_at; ++i) {
    const auto batch = source.collate(plan[i * plan.size() / looked_at]);
    tokens.push_back(batch.attention_mask().defined() ? batch.attention_mask().sum().item<double>()
                                                      : static_cast<double>(batch.input_ids().numel()));
  }
  work.tokens = static_cast<int64_t>(median(std::move(tokens)));
  return work;
}

json choice_json(const PrecisionChoice& choice) {
  json all = {{"arithmetic", enum_name(choice.precision)}};
  if (choice.timings.empty()) return all;
  json milliseconds;
  for (const auto& timing : choice.timings)
    milliseconds[std::string(enum_name(timing.precision))] = timing.milliseconds;
  all["measured"] = {{"milliseconds", milliseconds},
                     {"tokens", choice.tokens},
                     {"processor", choice.processor},
                     {"threads", choice.threads}};
  return all;
}

std::string describe(const PrecisionChoice& choice) {
  const std::string name(enum_name(choice.precision));
  if (choice.timings.empty()) return choice.automatic ? name + " (auto)" : name;
  std::vector<std::string> each;
  for (const auto& timing : choice.timings) {
    const auto ms = timing.milliseconds;
    each.push_back(fmt::format("{} {:.{}f} ms", enum_name(timing.precision), ms, ms < 10 ? 2 : ms < 100 ? 1 : 0));
  }
  return fmt::format("{} (auto; products of a step, {} tokens a batch: {}; {}, {} thread{})", name, choice.tokens,
                     fmt::join(each, ", "), choice.processor, choice.threads, choice.threads == 1 ? "" : "s");
}

std::vector<PrecisionChoice::Timing> time_products(std::span<const Precision> candidates, const ProductTimer& timer) {
  std::vector<std::vector<double>> seconds(candidates.size());
  const auto start = Clock::now();
  for (int round = 0; round <= most_rounds; ++round) {
    if (round > least_rounds && Clock::now() - start > time_for_rounds) break;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto taken = timer(candidates[i]);
      if (round > 0) seconds[i].push_back(taken);
    }
  }
  std::vector<PrecisionChoice::Timing> timings;
  for (size_t i = 0; i < candidates.size(); ++i) {
    timings.push_back({candidates[i], std::round(median(std::move(seconds[i])) * 1e6) / 1e3});
  }
  return timings;
}

Precision fastest(std::span<const PrecisionChoice::Timing> timings) {
  if (timings.empty()) throw std::invalid_argument("no timings to choose from");
  const auto least = std::ranges::min(timings, {}, &PrecisionChoice::Timing::milliseconds).milliseconds;
  return std::ranges::find_if(timings, [&](const auto& t) { return t.milliseconds <= tolerance * least; })->precision;
}

std::vector<Precision> precision_candidates(bool fused) {
  std::vector<Precision> candidates = {Precision::float32};
  if (fused) candidates.push_back(Precision::int16);
  if (processor_has("avx512_bf16") || processor_has("amx_bf16")) candidates.push_back(Precision::bfloat16);
  return candidates;
}

ProductTimer product_timer(const Workload& work) {
  const auto generator = at::detail::createCPUGenerator(1);
  const std::span layers(work.layers.begin(), std::min(work.layers.size(), measured_layers));
  double weights = 0.0;
  for (const auto& l : layers) weights += static_cast<double>(l.in * l.out);
  const auto affordable = static_cast<int64_t>(operations_a_round / (6.0 * std::max(weights, 1.0)));
  const auto rows = std::clamp<int64_t>(work.tokens, 1, std::max(least_rows, affordable));
  auto timed = std::make_shared<std::vector<TimedLayer>>();
  timed->reserve(layers.size());
  for (const auto& l : layers) timed->emplace_back(l, rows, generator);
  const auto times = static_cast<double>(work.batches * work.tokens) / static_cast<double>(rows);
  return [timed, times](Precision precision) {
    double seconds = 0.0;
    for (auto& layer : *timed)
      seconds += layer.time(fused_arithmetic({.precision = precision}, torch::kCPU).value(), times);
    return seconds;
  };
}

PrecisionChoice choose_precision(const TrainConfig& config, const torch::nn::Module& module, const BatchSource& source,
                                 const Context& context, const std::function<ProductTimer(const Workload&)>& timer) {
  if (config.precision == Precision::int16 && !context.device.is_cpu()) {
    throw ConfigError("precision: found int16 with --device " + context.device.str() +
                      ", expected bf16, fp16 or fp32 there");
  }
  if (config.precision != Precision::automatic) return {.precision = config.precision};
  if (!context.device.is_cpu()) return {.precision = Precision::bfloat16, .automatic = true};

  const ChoiceFile of_training(context.checkpoints.folder, context.checkpoints.fingerprint);
  if (const auto kept = of_training.find(*context.logger)) {
    context.logger->info("precision: {}, as this training began", describe(*kept));
    return *kept;
  }
  const OrdinaryMode ordinary(context.device);
  const auto candidates = precision_candidates(runs_fused(module, config));
  PrecisionChoice choice{.precision = candidates.front(), .automatic = true};
  const auto work = workload_of(module, source, config);
  if (candidates.size() > 1 && !work.layers.empty() && work.tokens > 0) {
    const auto machine = this_machine();
    const ChoiceFile of_machine(context.cache_folder, workload_key(work, candidates, machine));
    const auto kept = of_machine.find(*context.logger);
    if (kept) {
      choice = *kept;
    } else {
      choice.timings = time_products(candidates, timer(work));
      choice.precision = fastest(choice.timings);
      choice.tokens = work.tokens;
      choice.processor = machine.processor;
      choice.threads = machine.threads;
      of_machine.keep(choice);
    }
    context.logger->info("precision: {}{}", describe(choice), kept ? ", measured before" : "");
  } else {
    context.logger->info("precision: {}", describe(choice));
  }
  of_training.keep(choice);
  return choice;
}

}  // namespace compression
