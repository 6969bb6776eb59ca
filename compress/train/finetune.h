#pragma once
// The fine-tuning stage: the task's loss on labels.

#include <map>
#include <memory>
#include <string>

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
  std::map<std::string, double> label_weights;
  TrainConfig train;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to start from; the recipe's model if absent");
    visit("label_smoothing", self.label_smoothing,
          "Of classes and tags: the share of a label's probability that all classes get in equal parts");
    visit("class_weights", self.class_weights,
          "Of classes and tags: balanced: a label counts as texts / (classes * texts of its class) says, so that rare "
          "classes count as much as common ones");
    visit("label_weights", self.label_weights,
          "Of classes and tags: what labels count by the names of their classes, letter case aside, times "
          "class_weights; 1 "
          "where no weight is given");
    TrainConfig::fields(self.train, visit);
  }
};
void validate(const FinetuneConfig& config, Problems& problems);

/// An empty text where each of label_weights is one of the classes', else which is not, and what they are.
std::string unknown_weight(const FinetuneConfig& config, const std::vector<std::string>& classes);

std::unique_ptr<Stage> make_stage(const FinetuneConfig& config);

}  // namespace compression
