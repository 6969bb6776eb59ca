#pragma once
// Gradual pruning: rounds of score, cut, distil and evaluate. It stands here because it uses the algorithms of two
// stages.

#include <memory>
#include <optional>
#include <vector>

#include "compress/train/config.h"    // TrainConfig
#include "compress/workflow/stage.h"  // Stage
#include "distill/config.h"           // LossConfig
#include "prune/config.h"             // ScoreConfig, BudgetConfig, ReconstructConfig

namespace compression::recipes {

/// How each round prunes.
struct RoundCut {
  prune::ScoreConfig score;
  prune::BudgetConfig budget;
  prune::ReconstructConfig reconstruct;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    prune::ScoreConfig::fields(self.score, visit);
    prune::BudgetConfig::fields(self.budget, visit);
    prune::ReconstructConfig::fields(self.reconstruct, visit);
  }
};

void validate(const RoundCut& config, Problems& problems);

/// How each round recovers.
struct RoundTraining {
  Reference teacher;
  std::vector<distill::LossConfig> losses = {distill::LossConfig{}};
  TrainConfig train;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("teacher", self.teacher, "The model to learn from, and that max_drop counts from", Presence::required);
    visit("losses", self.losses, "What is minimised: the weighted sum of these");
    TrainConfig::fields(self.train, visit);
  }
};

void validate(const RoundTraining& config, Problems& problems);

/// Each round prunes the model a part of the way to the budget (prune/schedule.h) and distils it again. With max_drop,
/// a round that ends below it is undone, and the result is the smallest model that did not. Zhu and Gupta, arXiv
/// 1710.01878; with distillation in the rounds as Kurtic et al., arXiv 2203.07259.
struct GradualConfig {
  static constexpr std::string_view kind = "gradual";

  Reference of;
  RoundCut prune;
  RoundTraining distill;
  int64_t rounds = 8;
  std::optional<int64_t> last_epochs;
  std::optional<double> max_drop;
  int64_t max_halvings = 2;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to prune", Presence::required);
    visit("prune", self.prune, "How units are scored, how many stay at the end, and what is reconstructed",
          Presence::required);
    visit("distill", self.distill, "How the model is trained in each round", Presence::required);
    visit("rounds", self.rounds, "Steps to the budget; the share that is gone follows a cubic curve (Zhu and Gupta)");
    visit(
        "last_epochs", self.last_epochs,
        "Epochs of the last round; from the first, which has those of distill, they grow evenly; absent: all have the "
        "same");
    visit(
        "max_drop", self.max_drop,
        "How much worse than the teacher's the metric on the validation texts may be: lower by, up to 1, or higher by, "
        "where less is better; a round beyond it is undone, and the steps after it are half as long; absent: every "
        "round stays");
    visit("max_halvings", self.max_halvings, "How often the steps are halved before it ends");
  }
};
void validate(const GradualConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const GradualConfig& config);

}  // namespace compression::recipes
