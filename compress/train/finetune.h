#pragma once
// The fine-tuning stage: the task's loss on labels.

#include <memory>

#include "compress/train/config.h"    // TrainConfig
#include "compress/workflow/stage.h"  // Stage

namespace compression {

/// How much a label counts in the loss.
enum class ClassWeights { none, balanced };
constexpr std::array<std::pair<ClassWeights, std::string_view>, 2> enum_names(ClassWeights) {
  return {{{ClassWeights::none, "none"}, {ClassWeights::balanced, "balanced"}}};
}

struct FinetuneConfig {
  static constexpr std::string_view kind = "finetune";

  std::optional<Reference> of;
  double label_smoothing = 0.0;
  ClassWeights class_weights = ClassWeights::none;
  TrainConfig train;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to start from; the recipe's model if absent");
    visit("label_smoothing", self.label_smoothing,
          "Of classes and tags: the share of a label's probability that all classes get in equal parts");
    visit("class_weights", self.class_weights,
          "Of classes and tags: balanced: a label counts as texts / (classes * texts of its class) says, so that rare "
          "classes count as much as common ones");
    TrainConfig::fields(self.train, visit);
  }
};
void validate(const FinetuneConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const FinetuneConfig& config);

}  // namespace compression
