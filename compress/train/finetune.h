#pragma once
// The fine-tuning stage: the task's loss on labels.

#include <memory>

#include "compress/train/config.h"    // TrainConfig
#include "compress/workflow/stage.h"  // Stage

namespace compression {

struct FinetuneConfig {
  static constexpr std::string_view kind = "finetune";

  std::optional<Reference> of;
  TrainConfig train;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to start from; the recipe's model if absent");
    TrainConfig::fields(self.train, visit);
  }
};
void validate(const FinetuneConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const FinetuneConfig& config);

}  // namespace compression
