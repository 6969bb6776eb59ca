#include "compress/train/trainer.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "compress/train/adamw.h"     // AdamW
#include "compress/train/autocast.h"  // Autocast
#include "compress/workflow/error.h"  // DataError, StorageError, UnsupportedError

namespace compression {
namespace {

using Clock = std::chrono::steady_clock;

/// Appends one JSON object a line.
class MetricsFile {
 public:
  explicit MetricsFile(const std::filesystem::path& path) : path_(path), out_(path, std::ios::app) { check(); }

  void line(const nlohmann::json& object) {
    out_ << object.dump() << '\n' << std::flush;
    check();
  }

 private:
  void check() const {
    if (!out_) throw StorageError(path_.string() + ": can't be written");
  }
  std::filesystem::path path_;
  std::ofstream out_;
};

bool better(const Evaluation& a, const Evaluation& b) {
  return a.accuracy() != b.accuracy() ? a.accuracy() > b.accuracy() : a.loss < b.loss;
}

std::vector<torch::Tensor> weights(torch::nn::Module& model) {
  auto all = model.parameters();
  for (auto& buffer : model.buffers()) all.push_back(buffer);
  return all;
}

}  // namespace

double schedule_factor(Schedule schedule, int64_t step, int64_t steps, double warmup_ratio) {
  const double warmup = std::floor(warmup_ratio * static_cast<double>(steps));
  const double s = static_cast<double>(step);
  if (s < warmup) return s / warmup;
  if (schedule == Schedule::constant) return 1.0;
  return std::max(0.0, (static_cast<double>(steps) - s) / std::max(1.0, static_cast<double>(steps) - warmup));
}

nlohmann::json history_json(const TrainResult& result) {
  auto checks = nlohmann::json::array();
  for (const auto& check : result.checks) {
    checks.push_back({{"step", check.step},
                      {"epoch", check.epoch},
                      {"validation_accuracy", check.validation.accuracy()},
                      {"validation_loss", check.validation.loss}});
  }
  return {{"steps", result.steps}, {"checks", checks}, {"best", result.best}};
}

TrainResult train(torch::nn::Module& model, Objective& objective, const BatchSource& source, const TrainConfig& config,
                  const std::function<Evaluation()>& validate, Context& context) {
  at::manual_seed(context.seed);
  const bool bfloat16 = uses_bfloat16(config.precision, context.device);
  auto trained = model.parameters();
  for (const auto& p : objective.parameters()) trained.push_back(p);
  AdamW optimizer(trained, {.weight_decay = config.weight_decay});
  MetricsFile metrics(context.work_folder / "metrics.jsonl");

  const auto accumulation = config.gradient_accumulation;
  const auto batches_of = [&](int64_t epoch) { return source.plan(epoch); };
  const auto steps_per_epoch = (static_cast<int64_t>(batches_of(0).size()) + accumulation - 1) / accumulation;

  TrainResult result;
  const auto steps = steps_per_epoch * config.epochs;
  std::vector<torch::Tensor> best;
  Clock::duration training{}, since_log{};
  double tokens = 0.0, tokens_since_log = 0.0, loss_since_log = 0.0;
  int64_t steps_since_log = 0;

  const auto check = [&](int64_t step) {
    model.eval();
    const TrainResult::Check now{step, static_cast<double>(step) / static_cast<double>(steps_per_epoch), validate()};
    model.train();
    if (result.checks.empty() || better(now.validation, result.checks[result.best].validation)) {
      result.best = result.checks.size();
      best.clear();
      for (const auto& tensor : weights(model)) best.push_back(tensor.detach().clone());
    }
    result.checks.push_back(now);
    metrics.line({{"step", step},
                  {"epoch", now.epoch},
                  {"validation_accuracy", now.validation.accuracy()},
                  {"validation_loss", now.validation.loss}});
    context.logger->info("step {}/{} (epoch {:.2f}): validation accuracy {:.4f}, loss {:.4f}", step, steps, now.epoch,
                         now.validation.accuracy(), now.validation.loss);
  };

  model.train();
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < config.epochs; ++epoch) {
    const auto plan = batches_of(epoch);
    for (size_t first = 0; first < plan.size(); first += static_cast<size_t>(accumulation)) {
      context.check_stop();
      const auto start = Clock::now();
      const auto last = std::min(plan.size(), first + static_cast<size_t>(accumulation));
      int64_t examples = 0;
      for (size_t b = first; b < last; ++b) examples += static_cast<int64_t>(plan[b].size());
      double loss_value = 0.0;
      for (size_t b = first; b < last; ++b) {
        const auto batch = source.collate(plan[b]).to(context.device);
        torch::Tensor loss;
        {
          const Autocast autocast(bfloat16, context.device);
          loss = objective.loss(batch) * (static_cast<double>(batch.size()) / static_cast<double>(examples));
        }
        loss_value += loss.item<double>();
        loss.backward();
        tokens_since_log += batch.attention_mask.sum().item<double>();
      }
      if (!std::isfinite(loss_value)) {
        throw DataError(fmt::format("training: the loss at step {} is {}; a lower learning_rate than {} may help",
                                    step + 1, loss_value, config.learning_rate));
      }
      const double learning_rate =
          config.learning_rate * schedule_factor(config.schedule, step, steps, config.warmup_ratio);
      const double norm = optimizer.clip(config.max_grad_norm);
      optimizer.step(learning_rate);
      optimizer.zero_grad();
      ++step;
      ++steps_since_log;
      loss_since_log += loss_value;
      since_log += Clock::now() - start;
      context.progress(step, steps, fmt::format("loss {:.4f}", loss_value));
      if (step % config.log_every == 0 || step == steps) {
        const double mean_loss = loss_since_log / static_cast<double>(steps_since_log);
        const double speed = tokens_since_log / std::chrono::duration<double>(since_log).count();
        metrics.line({{"step", step},
                      {"epoch", static_cast<double>(step) / static_cast<double>(steps_per_epoch)},
                      {"loss", mean_loss},
                      {"learning_rate", learning_rate},
                      {"gradient_norm", norm},
                      {"tokens_per_second", speed}});
        context.logger->info("step {}/{}: loss {:.4f}, learning rate {:.2e}, {:.0f} tokens/s", step, steps, mean_loss,
                             learning_rate, speed);
        training += since_log;
        tokens += tokens_since_log;
        since_log = {};
        tokens_since_log = loss_since_log = 0.0;
        steps_since_log = 0;
      }
      if (config.evaluate_every > 0 && step % config.evaluate_every == 0 && step != steps) check(step);
    }
    if (config.evaluate_every == 0 || step == steps) check(step);
  }

  {
    const at::NoGradGuard no_grad;
    const auto now = weights(model);
    for (size_t i = 0; i < now.size(); ++i) torch::Tensor(now[i]).copy_(best[i]);
  }
  model.eval();
  result.steps = steps;
  result.seconds = std::chrono::duration<double>(training).count();
  result.tokens_per_second = tokens / std::max(result.seconds, 1e-9);
  return result;
}

TrainResult train_classifier(Classifier& model, Objective& objective, const Tokenizer& tokenizer,
                             const DataProvider& data, const TrainConfig& config, Context& context) {
  const auto& weights = model->config();
  if (weights.linear_format != WeightFormat::float32 || weights.embedding_format != WeightFormat::float32) {
    throw UnsupportedError(
        fmt::format("training a model with {} weights and {} embeddings: only fp32 models can be trained",
                    enum_name(weights.linear_format), enum_name(weights.embedding_format)));
  }
  const auto source =
      data.batches(Split::train, tokenizer, {.batch_size = config.batch_size, .shuffle = true, .seed = context.seed});
  const auto validation = data.batches(Split::validation, tokenizer, {});
  model->to(context.device);
  model->set_dropout(config.hidden_dropout, config.attention_dropout);
  const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
  const auto result = train(
      *model, objective, *source, config, [&] { return evaluate(logits, *validation, context); }, context);
  model->set_dropout(std::nullopt, std::nullopt);
  model->to(torch::kCPU);
  return result;
}

}  // namespace compression
