#pragma once
// Settings of a training run.

#include <array>
#include <cstdint>
#include <optional>

#include "compress/base/fields.h"  // Presence, Problems, Reference

namespace compression {

enum class Schedule { linear, cosine, constant };
constexpr std::array<std::pair<Schedule, std::string_view>, 3> enum_names(Schedule) {
  return {{{Schedule::linear, "linear"}, {Schedule::cosine, "cosine"}, {Schedule::constant, "constant"}}};
}

enum class Precision { automatic, float32, bfloat16, float16, int16 };
constexpr std::array<std::pair<Precision, std::string_view>, 5> enum_names(Precision) {
  return {{{Precision::automatic, "auto"},
           {Precision::float32, "fp32"},
           {Precision::bfloat16, "bf16"},
           {Precision::float16, "fp16"},
           {Precision::int16, "int16"}}};
}

/// Whose weights a model has at the end of its training.
enum class Keep { best, last };
constexpr std::array<std::pair<Keep, std::string_view>, 2> enum_names(Keep) {
  return {{{Keep::best, "best"}, {Keep::last, "last"}}};
}

struct TrainConfig {
  int64_t epochs = 3;
  int64_t batch_size = 32;
  double learning_rate = 5e-5;
  double weight_decay = 0.01;
  double warmup_ratio = 0.06;
  Schedule schedule = Schedule::linear;
  double max_grad_norm = 1.0;
  int64_t gradient_accumulation = 1;
  Precision precision = Precision::automatic;
  bool fused = true;
  bool recompute_activations = false;
  int64_t evaluate_every = 0;
  int64_t patience = 0;
  Keep keep = Keep::best;
  int64_t log_every = 50;
  int64_t snapshot_every = 100;
  double spike_factor = 5.0;
  int64_t max_rollbacks = 3;
  std::optional<double> hidden_dropout;
  std::optional<double> attention_dropout;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("epochs", self.epochs, "Passes over the training texts");
    visit("batch_size", self.batch_size, "Texts a batch");
    visit("learning_rate", self.learning_rate, "Peak learning rate of AdamW");
    visit("weight_decay", self.weight_decay,
          "Decoupled decay of weight matrices; biases and LayerNorm are not decayed");
    visit("warmup_ratio", self.warmup_ratio, "Share of the steps in which the learning rate rises from 0");
    visit("schedule", self.schedule, "After the warm-up: falls to 0 in a line or as half a cosine, or stays");
    visit("max_grad_norm", self.max_grad_norm, "The gradient's norm is clipped to this; 0: not clipped");
    visit("gradient_accumulation", self.gradient_accumulation, "Batches whose gradients make one step");
    visit(
        "precision", self.precision,
        "Of matrix products: fp32, bf16, fp16 (with loss scaling) or int16 (block floating point, of the fused form); "
        "auto: on the CPU the fastest of fp32, int16 and, where the processor has it, bf16, measured for a moment on "
        "the model's own products; bf16 with CUDA");
    visit("fused", self.fused,
          "On the CPU, layers without padding and with their own kernels; false: LibTorch's operators");
    visit("recompute_activations", self.recompute_activations,
          "Layers keep only their input, and compute the rest again for the backward pass: less memory, more time");
    visit("evaluate_every", self.evaluate_every,
          "Steps between evaluations on the validation texts; 0: after each epoch");
    visit("patience", self.patience,
          "Training ends after so many evaluations in a row that were no better than the best; 0: never early");
    visit("keep", self.keep,
          "best: the weights of the best evaluation; last: those of the last, for losses that the metric says nothing "
          "of");
    visit("log_every", self.log_every, "Steps between lines of metrics.jsonl");
    visit("snapshot_every", self.snapshot_every,
          "Steps between snapshots, which training goes back to from a loss that is no number, or from weights that "
          "have gone astray");
    visit("spike_factor", self.spike_factor,
          "A loss above so many times the running median is a jump: if most other batches' losses have jumped too, the "
          "weights have gone astray, else the texts are hard and are trained on; 0: only what is no number is noticed");
    visit("max_rollbacks", self.max_rollbacks,
          "How often training may go back, each time with half the learning rate, before it fails");
    visit("hidden_dropout", self.hidden_dropout,
          "In place of the checkpoint's hidden_dropout_prob, and of the head's dropout");
    visit("attention_dropout", self.attention_dropout, "In place of the checkpoint's attention_probs_dropout_prob");
  }
};
void validate(const TrainConfig& config, Problems& problems);

}  // namespace compression
