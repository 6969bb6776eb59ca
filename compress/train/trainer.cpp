#include "compress/train/trainer.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "compress/base/config_json.h"       // config_json
#include "compress/base/error.h"             // DataError, StorageError, UnsupportedError
#include "compress/base/files.h"             // refused
#include "compress/base/fingerprint.h"       // fingerprint
#include "compress/model/autocast.h"         // Autocast
#include "compress/state_dict/state_dict.h"  // state_dict
#include "compress/train/adamw.h"            // AdamW
#include "compress/train/precision.h"        // autocast_dtype, fused_arithmetic
#include "compress/train/spike.h"            // median
#include "compress/train/train_state.h"      // TrainState, StateFiles
#include "compress/workflow/machine.h"       // this_machine

namespace compression {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// JSON objects, one a line; the text before can be put back.
class MetricsFile {
 public:
  explicit MetricsFile(std::filesystem::path path) : path_(std::move(path)) {}

  void restore(const std::string& text) {
    errno = 0;
    out_ = std::ofstream(path_, std::ios::trunc);
    put(text);
  }

  /// The line as written.
  std::string line(const nlohmann::json& object) {
    auto text = object.dump() + "\n";
    put(text);
    return text;
  }

 private:
  void put(const std::string& text) {
    if (out_) errno = 0;
    out_ << text << std::flush;
    if (!out_) throw StorageError(refused(path_, "can't be written", errno));
  }
  std::filesystem::path path_;
  std::ofstream out_;
};

/// Without the sign that some machines give to what is no number.
std::string value_text(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{:.4g}", value);
}

/// "validation_accuracy"
std::string validation_key(const Evaluation& evaluation) {
  return fmt::format("validation_{}", enum_name(evaluation.metric));
}

/// What decides a result's bits besides config, seed and data. The config's precision is a chosen one.
std::map<std::string, std::string> environment(const TrainConfig& config, const Context& context) {
  const auto machine = this_machine();
  return {{"arithmetic", std::string(enum_name(config.precision))},
          {"device", context.device.str()},
          {"threads", std::to_string(machine.threads)},
          {"processor", machine.processor},
          {"instruction_set", machine.instruction_set},
          {"libtorch", machine.libtorch}};
}

std::vector<at::Generator> generators(torch::Device device) {
  std::vector<at::Generator> all = {at::globalContext().defaultGenerator(torch::kCPU)};
  if (!device.is_cpu()) all.push_back(at::globalContext().defaultGenerator(device));
  return all;
}

/// While it lives, large embedding tables have sparse gradients, and their rows are brought up to date before they are
/// read.
class SparseTables {
 public:
  SparseTables(torch::nn::Module& model, AdamW& optimizer) {
    for (const auto& module : model.modules()) {
      auto* table = module->as<EmbeddingImpl>();
      if (table == nullptr || !table->weight.requires_grad() || !table->weight.is_cpu()) continue;
      if (table->weight.size(0) < smallest || table->read_elsewhere) continue;
      table->use_sparse_gradient(
          [table, &optimizer](const torch::Tensor& ids) { optimizer.catch_up(table->weight, ids); });
      tables_.push_back(table);
    }
  }
  ~SparseTables() {
    for (auto* table : tables_) table->use_sparse_gradient(nullptr);
  }
  SparseTables(const SparseTables&) = delete;
  SparseTables& operator=(const SparseTables&) = delete;

 private:
  static constexpr int64_t smallest = 2048;  // rows: a batch touches most of a smaller table
  std::vector<EmbeddingImpl*> tables_;
};

/// The zeros of some weights, as they are when it is made.
class HeldZeros {
 public:
  explicit HeldZeros(std::vector<torch::Tensor> weights) : weights_(std::move(weights)) {
    const at::NoGradGuard no_grad;
    for (const auto& weight : weights_) kept_.push_back(weight.ne(0));
  }

  /// Before the gradients are looked at.
  void hold() const {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (auto gradient = weights_[i].grad(); gradient.defined()) gradient.mul_(kept_[i]);
    }
  }

 private:
  std::vector<torch::Tensor> weights_, kept_;
};

/// A step of fewer texts has losses that scatter.
constexpr int64_t few_texts = 16;

/// One call of train(), whose precision is chosen.
class Trainer {
 public:
  Trainer(torch::nn::Module& model, Objective& objective, const BatchSource& source, const TrainConfig& config,
          const std::function<Evaluation()>& validate, Context& context, const std::vector<torch::Tensor>& sparse);
  TrainResult run();

 private:
  void begin();
  void step();
  void check();
  std::optional<double> backward(std::span<const std::vector<int64_t>> batches);
  void next_step(size_t batches, double seconds, double learning_rate, double gradient_norm);
  bool astray();
  std::optional<double> loss_of(const std::vector<int64_t>& examples);
  void log_line(double learning_rate, double gradient_norm);
  std::string other_causes() const;
  void roll_back(const std::string& reason, double loss, bool jumped = false);

  /// Where the run was before a step, apart from weights, which the step has not changed yet.
  struct Before {
    TrainProgress progress;
    StateDict generators;
  };
  StateDict weights(bool copies);
  void set_weights(const StateDict& tensors);
  StateDict generator_state() const;
  void set_generators(const StateDict& state);
  TrainState state(bool copies);
  bool fits(const TrainState& found);
  void restore(const TrainState& state);
  void keep_snapshot(Before before);
  std::string stopped_message();

  const std::vector<std::vector<int64_t>>& plan();
  double epochs_done() const { return static_cast<double>(now_.step) / static_cast<double>(steps_per_epoch_); }
  bool finished() const { return now_.epoch == config_.epochs || out_of_patience(); }
  bool out_of_patience() const {
    const auto since = static_cast<int64_t>(now_.checks.size() - now_.best) - 1;
    return config_.patience > 0 && !now_.checks.empty() && since >= config_.patience;
  }
  double loss_scale() const { return arithmetic_ == torch::kHalf ? now_.loss_scale.scale : 1.0; }

  torch::nn::Module& model_;
  Objective& objective_;
  const BatchSource& source_;
  const TrainConfig& config_;
  const std::function<Evaluation()>& validate_;
  Context& context_;

  std::optional<torch::Dtype> arithmetic_;  // of autocast
  std::vector<torch::Tensor> trained_;
  AdamW optimizer_;
  SparseTables sparse_tables_;
  HeldZeros zeros_;
  MetricsFile metrics_;
  int64_t steps_per_epoch_, steps_;
  int64_t planned_epoch_ = -1;
  std::vector<std::vector<int64_t>> plan_;

  TrainProgress now_;
  StateDict best_;                      // weights of the best check: "best.NAME"
  std::optional<TrainState> snapshot_;  // the last good state, which jumps go back to
  bool between_steps_ = true;           // weights and progress belong together

  std::optional<StateFiles> files_;
  bool snapshot_written_ = false;
  Clock::time_point last_write_ = Clock::now();
};

std::vector<torch::Tensor> all_parameters(torch::nn::Module& model, Objective& objective) {
  auto all = model.parameters();
  for (const auto& p : objective.parameters()) all.push_back(p);
  return all;
}

Trainer::Trainer(torch::nn::Module& model, Objective& objective, const BatchSource& source, const TrainConfig& config,
                 const std::function<Evaluation()>& validate, Context& context,
                 const std::vector<torch::Tensor>& sparse)
    : model_(model),
      objective_(objective),
      source_(source),
      config_(config),
      validate_(validate),
      context_(context),
      arithmetic_(autocast_dtype(config.precision)),
      trained_(all_parameters(model, objective)),
      optimizer_(trained_, {.weight_decay = config.weight_decay}),
      sparse_tables_(model, optimizer_),
      zeros_(sparse),
      metrics_(context.work_folder / "metrics.jsonl") {
  const auto batches = static_cast<int64_t>(source.plan(0).size());
  if (batches == 0) throw DataError("training: there is no text to train on");
  steps_per_epoch_ = (batches + config.gradient_accumulation - 1) / config.gradient_accumulation;
  steps_ = steps_per_epoch_ * config.epochs;
}

TrainResult Trainer::run() {
  at::manual_seed(context_.seed);
  model_.train();
  begin();
  try {
    while (true) {
      between_steps_ = true;
      context_.check_stop();
      if (now_.check_due) {
        check();
      } else if (!finished()) {
        between_steps_ = false;
        step();
      } else {
        break;
      }
    }
  } catch (const Interrupted&) {
    throw Interrupted(stopped_message());
  }

  if (out_of_patience() && now_.epoch < config_.epochs) {
    context_.logger->info(
        "training ends after step {} of {}: {} evaluations in a row were no better than that at step {}", now_.step,
        steps_, config_.patience, now_.checks[now_.best].step);
  }
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : state_dict(model_)) tensor.copy_(best_.at("best." + name));
  model_.eval();
  if (now_.hard_steps > 0) {
    context_.logger->info(
        "the loss of {} of {} steps stood out while that of other texts did not: hard texts, or wrong "
        "labels",
        now_.hard_steps, steps_);
  }
  if (now_.empty_steps > 0) {
    context_.logger->info("{} of {} steps were not taken: their texts have no label", now_.empty_steps, steps_);
  }
  return {.checks = now_.checks,
          .rollbacks = now_.rollbacks,
          .skipped_steps = now_.skipped_steps,
          .hard_steps = now_.hard_steps,
          .best = now_.best,
          .steps = now_.step,
          .seconds = now_.seconds,
          .tokens_per_second = now_.tokens / std::max(now_.seconds, 1e-9)};
}

/// Goes on from a saved state, or from the first step.
void Trainer::begin() {
  if (!context_.checkpoints.folder.empty()) {
    nlohmann::json shapes;
    for (const auto& p : trained_) shapes.push_back(p.sizes().vec());
    const nlohmann::json all = {{"of", context_.checkpoints.fingerprint},
                                {"config", config_json(config_)},
                                {"seed", context_.seed},
                                {"examples", source_.size()},
                                {"shapes", shapes}};
    files_.emplace(context_.checkpoints.folder, fingerprint(all.dump()), environment(config_, context_));
    auto found = files_->read(*context_.logger);
    if (found && !(fits(found->snapshot) && (!found->stopped || fits(*found->stopped)))) {
      context_.logger->warn("the saved state of training is of another model, and is not used");
      found.reset();
    }
    if (found) {
      snapshot_ = std::move(found->snapshot);
      snapshot_written_ = true;
      restore(found->stopped ? *found->stopped : *snapshot_);
      context_.logger->info("going on after step {} of {}", now_.step, steps_);
      return;
    }
  }
  metrics_.restore("");
  if (config_.max_rollbacks > 0 || files_) snapshot_ = state(/*copies=*/true);
}

/// Forward and backward passes of one step; its mean loss, over what the objective counts in all of its batches.
/// Nothing where that is nothing.
std::optional<double> Trainer::backward(std::span<const std::vector<int64_t>> batches) {
  std::vector<Batch> all;
  std::vector<double> counts;
  for (const auto& positions : batches) {
    all.push_back(source_.collate(positions, now_.epoch));
    const auto own = objective_.counts(all.back());
    counts.resize(own.size());
    for (size_t i = 0; i < own.size(); ++i) counts[i] += own[i];
  }
  for (const auto& batch : all) now_.since_line.tokens += batch.attention_mask().sum().item<double>();
  if (is_nothing(counts)) return std::nullopt;
  double total = 0.0;
  for (const auto& on_cpu : all) {
    const auto batch = on_cpu.to(context_.device);
    torch::Tensor loss;
    {
      const Autocast autocast(arithmetic_, context_.device);
      loss = all.size() == 1 ? objective_.loss(batch) : objective_.part(batch, counts);
    }
    total += loss.item<double>();
    (arithmetic_ == torch::kHalf ? loss * loss_scale() : loss).backward();
  }
  return total;
}

/// The loss of one batch in evaluation mode; nothing where it has nothing that counts.
std::optional<double> Trainer::loss_of(const std::vector<int64_t>& examples) {
  const auto batch = source_.collate(examples, now_.epoch);
  if (is_nothing(objective_.counts(batch))) return std::nullopt;
  const Autocast autocast(arithmetic_, context_.device);
  return objective_.loss(batch.to(context_.device)).item<double>();
}

/// Whether the weights are worse than the snapshot's: most batches' losses are above the limit, and above twice what
/// they were with the snapshot. The batches are those that come after this step's, in a circle. Follows from the state
/// alone, and changes nothing of it.
bool Trainer::astray() {
  const at::NoGradGuard no_grad;
  const double limit = now_.losses.limit(config_.spike_factor);
  const auto& batches = plan();
  const auto group = static_cast<size_t>(config_.gradient_accumulation);
  const auto at = [&](size_t i) { return (static_cast<size_t>(now_.batch) + group + i) % batches.size(); };
  optimizer_.catch_up();
  const auto before = generator_state();
  model_.eval();
  SequentialTest now;
  std::vector<std::pair<size_t, double>> above;  // a batch, and its loss
  for (size_t i = 0; i < batches.size() && !now.decided(); ++i) {
    const auto loss = loss_of(batches[at(i)]);
    if (!loss) continue;
    const bool is_above = !(*loss <= limit);
    if (is_above) above.emplace_back(at(i), *loss);
    now.add(is_above);
  }
  bool astray = now.above();
  if (astray && snapshot_) {
    const auto own = weights(/*copies=*/true);
    set_weights(snapshot_->tensors);
    size_t worse = 0;
    for (const auto& [i, loss] : above) worse += loss <= 2 * loss_of(batches[i]).value_or(0.0) ? 0 : 1;
    set_weights(own);
    astray = 2 * worse > above.size();
  }
  model_.train();
  set_generators(before);
  return astray;
}

void Trainer::step() {
  const auto start = Clock::now();
  const auto left = std::span(plan()).subspan(static_cast<size_t>(now_.batch));
  const auto batches = left.first(std::min(left.size(), static_cast<size_t>(config_.gradient_accumulation)));
  std::optional<Before> before;
  if (now_.snapshot_due) {
    now_.snapshot_due = false;
    before = Before{now_, generator_state()};
  }
  const auto mean = backward(batches);
  if (!mean) {  // nothing to learn from: neither the weights move nor what the optimizer remembers
    now_.snapshot_due = before.has_value();
    ++now_.empty_steps;
    return next_step(batches.size(), seconds_since(start), 0.0, 0.0);
  }
  const double loss = *mean;
  const auto number = now_.step + 1;
  if (!std::isfinite(loss)) return roll_back("the loss is " + value_text(loss), loss);
  if (now_.losses.stands_out(loss, config_.spike_factor)) {
    if (astray()) return roll_back(fmt::format("the loss jumped to {:.4g}", loss), loss, /*jumped=*/true);
    ++now_.hard_steps;
  }

  zeros_.hold();
  const double norm = optimizer_.clip(config_.max_grad_norm, loss_scale());
  const double learning_rate = config_.learning_rate * now_.learning_rate_factor *
                               schedule_factor(config_.schedule, now_.step, steps_, config_.warmup_ratio);
  if (arithmetic_ == torch::kHalf) {
    now_.loss_scale.update(!std::isfinite(norm));
    if (now_.loss_scale.scale < LossScale::smallest) {
      throw DataError(
          fmt::format("training: in fp16 the gradient overflows at step {} even with a loss scale of {}; "
                      "precision bf16 or fp32 may help",
                      number, 2 * now_.loss_scale.scale));
    }
  } else if (!std::isfinite(norm)) {
    return roll_back("the gradient's norm is " + value_text(norm), loss);
  }
  if (before) keep_snapshot(std::move(*before));
  if (std::isfinite(norm)) {
    optimizer_.step(learning_rate);
  } else {
    ++now_.skipped_steps;
  }
  optimizer_.zero_grad();

  now_.losses.add(loss);
  auto& sums = now_.since_line;
  ++sums.steps;
  sums.loss += loss;
  context_.progress(now_.step + 1, steps_, fmt::format("loss {:.4f}", loss));
  next_step(batches.size(), seconds_since(start), learning_rate, norm);
}

/// Moves on behind a step of so many batches.
void Trainer::next_step(size_t batches, double seconds, double learning_rate, double gradient_norm) {
  ++now_.step;
  now_.batch += static_cast<int64_t>(batches);
  const bool epoch_ends = static_cast<size_t>(now_.batch) == plan().size();
  if (epoch_ends) {
    ++now_.epoch;
    now_.batch = 0;
  }
  const bool at_interval = config_.evaluate_every > 0 ? now_.step % config_.evaluate_every == 0 : epoch_ends;
  now_.check_due = at_interval || finished();
  now_.since_line.seconds += seconds;
  if (now_.step % config_.log_every == 0 || finished()) log_line(learning_rate, gradient_norm);
  if (now_.step % config_.snapshot_every == 0) now_.snapshot_due = true;
}

void Trainer::log_line(double learning_rate, double gradient_norm) {
  auto& sums = now_.since_line;
  const double speed = sums.tokens / std::max(sums.seconds, 1e-9);
  nlohmann::json line = {{"step", now_.step}, {"epoch", epochs_done()}};
  if (sums.steps > 0) {
    const double mean_loss = sums.loss / static_cast<double>(sums.steps);
    line.update({{"loss", mean_loss}, {"learning_rate", learning_rate}, {"gradient_norm", gradient_norm}});
    context_.logger->info("step {}/{}: loss {:.4f}, learning rate {:.2e}, {:.0f} tokens/s", now_.step, steps_,
                          mean_loss, learning_rate, speed);
  }
  line["tokens_per_second"] = speed;
  now_.metrics += metrics_.line(line);
  now_.seconds += sums.seconds;
  now_.tokens += sums.tokens;
  sums = {};
}

void Trainer::check() {
  optimizer_.catch_up();
  model_.eval();
  const TrainResult::Check result{now_.step, epochs_done(), validate_()};
  model_.train();
  if (config_.keep == Keep::last || now_.checks.empty() ||
      result.validation.better_than(now_.checks[now_.best].validation)) {
    now_.best = now_.checks.size();
    best_.clear();
    for (const auto& [name, tensor] : state_dict(model_)) best_["best." + name] = tensor.clone();
  }
  now_.checks.push_back(result);
  now_.check_due = false;
  now_.metrics += metrics_.line({{"step", result.step},
                                 {"epoch", result.epoch},
                                 {validation_key(result.validation), result.validation.value()},
                                 {"validation_loss", result.validation.loss}});
  context_.logger->info("step {}/{} (epoch {:.2f}): validation {}", result.step, steps_, result.epoch,
                        describe(result.validation));
  now_.snapshot_due = true;
}

void Trainer::roll_back(const std::string& reason, double loss, bool jumped) {
  const auto number = now_.step + 1;
  const auto usual = median(now_.losses.recent);
  auto rollbacks = now_.rollbacks;
  const auto done = static_cast<int64_t>(rollbacks.size());
  if (now_.step == 0 && !jumped && done > 0) {  // the same again, whatever the rate
    throw DataError(
        fmt::format("training: at step 1, before any change of the weights, {}: found labels, texts or weights that {} "
                    "arithmetic can't take, expected others, or another precision",
                    reason, enum_name(config_.precision)));
  }
  if (done >= config_.max_rollbacks) {
    throw DataError(fmt::format(
        "training: at step {} {} (loss {}, median before {:.4g}), at a learning rate of {:.3g} times the schedule's, "
        "after going back {} times; a lower learning_rate than {} may help{}",
        number, reason, value_text(loss), usual, now_.learning_rate_factor, done, config_.learning_rate,
        jumped ? other_causes() : ""));
  }
  const double factor = now_.learning_rate_factor / 2;
  optimizer_.zero_grad();
  restore(*snapshot_);
  now_.learning_rate_factor = factor;
  now_.rollbacks = std::move(rollbacks);
  now_.rollbacks.push_back({.step = number,
                            .reason = reason,
                            .loss = loss,
                            .median = usual,
                            .back_to = now_.step,
                            .learning_rate_factor = factor});
  now_.metrics += metrics_.line(
      {{"rollback_at", number}, {"reason", reason}, {"back_to", now_.step}, {"learning_rate_factor", factor}});
  snapshot_->progress = now_;
  snapshot_written_ = false;
  context_.logger->warn("step {}: {} (median before {:.4g}): back to step {}, with {:.3g} times the learning rate",
                        number, reason, usual, now_.step, factor);
}

/// What else a jump may come from, as the end of a message.
std::string Trainer::other_causes() const {
  const bool few = config_.batch_size * config_.gradient_accumulation < few_texts;
  const auto larger =
      few ? fmt::format(", or a larger batch_size than {}, with which losses scatter", config_.batch_size) : "";
  return fmt::format("{}, or a spike_factor above {:g}, or 0, which lets jumps pass", larger, config_.spike_factor);
}

/// All that the next steps depend on; copies, or views of the tensors at work.
TrainState Trainer::state(bool copies) {
  optimizer_.catch_up();
  TrainState all{.progress = now_, .tensors = best_};
  for (auto& [name, tensor] : weights(copies)) all.tensors[name] = tensor;
  for (const auto& [name, tensor] : optimizer_.state()) all.tensors["optimizer." + name] = tensor;
  for (const auto& [name, tensor] : generator_state()) all.tensors[name] = tensor;
  return all;
}

/// Of the model and the objective, as a state names them; copies, or views.
StateDict Trainer::weights(bool copies) {
  StateDict all;
  const auto add = [&](const std::string& name, const torch::Tensor& tensor) {
    all[name] = copies ? tensor.detach().clone() : tensor.detach();
  };
  for (const auto& [name, tensor] : state_dict(model_)) add("model." + name, tensor);
  const auto learnt = objective_.parameters();
  for (size_t i = 0; i < learnt.size(); ++i) add(fmt::format("objective.{}", i), learnt[i]);
  return all;
}

/// Takes over those of a state, or of weights().
void Trainer::set_weights(const StateDict& tensors) {
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : weights(/*copies=*/false)) tensor.copy_(tensors.at(name));
}

StateDict Trainer::generator_state() const {
  StateDict all;
  for (const auto& generator : generators(context_.device)) {
    all["generator." + generator.device().str()] = generator.get_state();
  }
  return all;
}

void Trainer::set_generators(const StateDict& state) {
  for (auto& generator : generators(context_.device)) {
    const auto saved = state.find("generator." + generator.device().str());
    if (saved != state.end()) generator.set_state(saved->second);
  }
}

/// Whether every tensor is there, with the shape that it has here.
bool Trainer::fits(const TrainState& found) {
  const auto has = [&](const std::string& name, const torch::Tensor& own) {
    const auto tensor = found.tensors.find(name);
    return tensor != found.tensors.end() && tensor->second.sizes() == own.sizes();
  };
  const bool has_best = !found.progress.checks.empty();
  return std::ranges::all_of(state(/*copies=*/false).tensors, [&](const auto& t) { return has(t.first, t.second); }) &&
         std::ranges::all_of(state_dict(model_),
                             [&](const auto& t) { return !has_best || has("best." + t.first, t.second); }) &&
         (!has_best || found.progress.best < found.progress.checks.size());
}

void Trainer::restore(const TrainState& state) {
  set_weights(state.tensors);
  StateDict moments;
  best_.clear();
  for (const auto& [name, tensor] : state.tensors) {
    constexpr std::string_view optimizer = "optimizer.";
    if (name.starts_with(optimizer)) moments[name.substr(optimizer.size())] = tensor;
    if (name.starts_with("best.")) best_[name] = tensor;
  }
  optimizer_.load_state(moments);
  set_generators(state.tensors);
  now_ = state.progress;
  metrics_.restore(now_.metrics);
}

/// The weights and moments are still those of `before`. That the snapshot is taken behind the next step's loss, and not
/// ahead of it, keeps it from holding weights that the last step has destroyed.
void Trainer::keep_snapshot(Before before) {
  if (config_.max_rollbacks == 0 && !files_) return;
  snapshot_ = state(/*copies=*/true);
  snapshot_->progress = std::move(before.progress);
  for (const auto& [name, tensor] : before.generators) snapshot_->tensors[name] = tensor;
  snapshot_written_ = false;
  if (!files_ || seconds_since(last_write_) < context_.checkpoints.seconds) return;
  files_->write(*snapshot_, nullptr);
  snapshot_written_ = true;
  last_write_ = Clock::now();
}

/// Saves what there is when the user asks to stop, and says what that is.
std::string Trainer::stopped_message() {
  if (!files_)
    return fmt::format("stopped after step {} of {} of a training whose state is not kept", now_.step, steps_);
  if (between_steps_) {
    const auto here = state(/*copies=*/false);
    files_->write(*snapshot_, &here);
  } else if (!snapshot_written_) {
    files_->write(*snapshot_, nullptr);
  }
  return fmt::format("stopped; saved after step {} of {}: the same command goes on from there",
                     between_steps_ ? now_.step : snapshot_->progress.step, steps_);
}

const std::vector<std::vector<int64_t>>& Trainer::plan() {
  if (planned_epoch_ != now_.epoch) {
    plan_ = source_.plan(now_.epoch);
    planned_epoch_ = now_.epoch;
  }
  return plan_;
}

}  // namespace

double schedule_factor(Schedule schedule, int64_t step, int64_t steps, double warmup_ratio) {
  const double warmup = std::floor(warmup_ratio * static_cast<double>(steps));
  const double s = static_cast<double>(step);
  if (s < warmup) return s / warmup;
  if (schedule == Schedule::constant) return 1.0;
  const double left = (static_cast<double>(steps) - s) / std::max(1.0, static_cast<double>(steps) - warmup);
  if (schedule == Schedule::cosine) return 0.5 * (1.0 - std::cos(std::numbers::pi * std::clamp(left, 0.0, 1.0)));
  return std::max(0.0, left);
}

nlohmann::json history_json(const TrainResult& result) {
  auto checks = nlohmann::json::array(), rollbacks = nlohmann::json::array();
  for (const auto& check : result.checks) {
    checks.push_back({{"step", check.step},
                      {"epoch", check.epoch},
                      {validation_key(check.validation), check.validation.value()},
                      {"validation_loss", check.validation.loss}});
  }
  for (const auto& r : result.rollbacks) {
    rollbacks.push_back({{"step", r.step},
                         {"reason", r.reason},
                         {"loss", r.loss},
                         {"median", r.median},
                         {"back_to", r.back_to},
                         {"learning_rate_factor", r.learning_rate_factor}});
  }
  return {{"steps", result.steps},
          {"checks", checks},
          {"best", result.best},
          {"rollbacks", rollbacks},
          {"skipped_steps", result.skipped_steps},
          {"hard_steps", result.hard_steps},
          {"precision", choice_json(result.precision)}};
}

TrainResult train(torch::nn::Module& model, Objective& objective, const BatchSource& source, const TrainConfig& config,
                  const std::function<Evaluation()>& validate, Context& context,
                  const std::optional<PrecisionChoice>& precision, const std::vector<torch::Tensor>& sparse) {
  const OrdinaryMode ordinary(context.device);
  const auto choice = precision ? *precision : choose_precision(config, model, source, context);
  auto chosen = config;
  chosen.precision = choice.precision;
  auto result = Trainer(model, objective, source, chosen, validate, context, sparse).run();
  result.precision = choice;
  return result;
}

std::shared_ptr<const BatchSource> training_batches(const Tokenizer& tokenizer, const DataProvider& data,
                                                    const TrainConfig& config, const Context& context) {
  return data.batches(Split::train, tokenizer,
                      {.batch_size = config.batch_size, .shuffle = true, .seed = context.seed});
}

TrainResult train_model(Model& model, Objective& objective, const Tokenizer& tokenizer, const DataProvider& data,
                        const TrainConfig& config, Context& context, const std::optional<PrecisionChoice>& precision) {
  const auto& weights = model->config();
  if (weights.linear_format != WeightFormat::float32 || weights.embedding_format != WeightFormat::float32) {
    throw UnsupportedError(
        fmt::format("training a model with {} weights and {} embeddings: only fp32 models can be trained",
                    enum_name(weights.linear_format), enum_name(weights.embedding_format)));
  }
  const auto source = training_batches(tokenizer, data, config, context);
  const auto choice = precision ? *precision : choose_precision(config, *model, *source, context);
  auto chosen = config;
  chosen.precision = choice.precision;
  const auto validation = data.batches(Split::validation, tokenizer, {});
  source->tell_left_out(context.logger);
  validation->tell_left_out(context.logger);
  model->to(context.device);
  model->set_dropout(config.hidden_dropout, config.attention_dropout);
  const auto arithmetic = fused_arithmetic(chosen, context.device);
  model->set_fused(arithmetic);
  model->set_recompute(config.recompute_activations);
  const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
  const auto check = [&] {  // in float32, whatever training computes in
    if (arithmetic) model->set_fused(Arithmetic::float32);
    const auto reached = evaluate(logits, *validation, context);
    model->set_fused(arithmetic);
    return reached;
  };
  std::vector<torch::Tensor> sparse;
  for (const auto& linear : model->config().sparsity ? model->block_linears() : std::vector<Linear>()) {
    sparse.push_back(linear->weight);
  }
  const auto result = train(*model, objective, *source, config, check, context, choice, sparse);
  model->set_fused(std::nullopt);
  model->set_recompute(false);
  model->set_dropout(std::nullopt, std::nullopt);
  model->to(torch::kCPU);
  return result;
}

}  // namespace compression
