#include "compress/train/config.h"

#include "compress/train/finetune.h"  // FinetuneConfig

namespace compression {

// The upper bounds keep counts of steps within 64 bits.
void validate(const TrainConfig& config, Problems& problems) {
  problems.within("epochs", config.epochs, 1, 100000);
  problems.within("batch_size", config.batch_size, 1, 65536);
  problems.above("learning_rate", config.learning_rate, 0);
  problems.at_least("weight_decay", config.weight_decay, 0);
  problems.within("warmup_ratio", config.warmup_ratio, 0, 1);
  problems.at_least("max_grad_norm", config.max_grad_norm, 0);
  problems.within("gradient_accumulation", config.gradient_accumulation, 1, 65536);
  problems.require(config.precision != Precision::int16 || config.fused, "precision",
                   "found int16 with fused: false, expected fused: true, whose kernels it needs");
  problems.at_least("evaluate_every", config.evaluate_every, 0);
  problems.at_least("patience", config.patience, 0);
  problems.require(config.patience == 0 || config.keep == Keep::best, "patience",
                   "found " + number_text(static_cast<double>(config.patience)) +
                       " with keep: last, expected keep: best, whose evaluations it counts");
  problems.at_least("log_every", config.log_every, 1);
  problems.at_least("snapshot_every", config.snapshot_every, 1);
  problems.require(config.spike_factor == 0 || (std::isfinite(config.spike_factor) && config.spike_factor > 1),
                   "spike_factor", "found " + number_text(config.spike_factor) + ", expected 0 or a number above 1");
  problems.within("max_rollbacks", config.max_rollbacks, 0, 50);
  const auto dropout = [&](std::string_view key, const std::optional<double>& value) {
    if (value) {
      problems.require(*value >= 0 && *value < 1, key,
                       "found " + number_text(*value) + ", expected at least 0 and below 1");
    }
  };
  dropout("hidden_dropout", config.hidden_dropout);
  dropout("attention_dropout", config.attention_dropout);
}

void validate(const FinetuneConfig& config, Problems& problems) {
  validate(config.train, problems);
  problems.require(config.label_smoothing >= 0 && config.label_smoothing < 1, "label_smoothing",
                   "found " + number_text(config.label_smoothing) + ", expected at least 0 and below 1");
  for (const auto& [name, weight] : config.label_weights) {
    problems.above(join_key("label_weights", name), weight, 0);
  }
}

}  // namespace compression
