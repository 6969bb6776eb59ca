#pragma once
// Settings of the distillation stage.

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "compress/train/config.h"    // TrainConfig
#include "compress/workflow/stage.h"  // Stage

namespace compression::distill {

enum class LossType { logits, labels, hidden_states, embeddings, attentions };
constexpr std::array<std::pair<LossType, std::string_view>, 5> enum_names(LossType) {
  return {{{LossType::logits, "logits"},
           {LossType::labels, "labels"},
           {LossType::hidden_states, "hidden_states"},
           {LossType::embeddings, "embeddings"},
           {LossType::attentions, "attentions"}}};
}

struct LossConfig {
  LossType type = LossType::logits;
  double weight = 1.0;
  double temperature = 2.0;
  std::optional<std::vector<std::vector<int64_t>>> layers;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("type", self.type,
          "logits: KL of softened outputs; labels: cross-entropy on labels; hidden_states, embeddings, attentions: "
          "mean squared error",
          Presence::required);
    visit("weight", self.weight, "Share in the sum of losses");
    visit("temperature", self.temperature,
          "Of logits: divides both models' logits; the loss is multiplied by its square");
    visit("layers", self.layers,
          "Of hidden_states and attentions: pairs [student layer, teacher layer], from 0; evenly spread if absent");
  }
};
void validate(const LossConfig& config, Problems& problems);

struct StudentConfig {
  Reference from;
  std::optional<std::vector<int64_t>> layers;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("from", self.from, "The model that the student starts as", Presence::required);
    visit("layers", self.layers, "Layers of it to keep, from 0, in this order; all if absent");
  }
};
void validate(const StudentConfig& config, Problems& problems);

struct DistillConfig {
  static constexpr std::string_view kind = "distill";

  Reference teacher;
  StudentConfig student;
  std::vector<LossConfig> losses = {LossConfig{}};
  TrainConfig train;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("teacher", self.teacher, "The model to learn from", Presence::required);
    visit("student", self.student, "The model that learns", Presence::required);
    visit("losses", self.losses, "What is minimised: the weighted sum of these");
    TrainConfig::fields(self.train, visit);
  }
};
void validate(const DistillConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const DistillConfig& config);

}  // namespace compression::distill
