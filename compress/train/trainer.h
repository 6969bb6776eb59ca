#pragma once
// The training loop.

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "compress/evaluate/evaluate.h"  // Evaluation
#include "compress/train/config.h"       // TrainConfig
#include "compress/train/objective.h"    // Objective

namespace compression {

/// Share of the peak learning rate at a step (from 0) of `steps`: rises in a line over the warm-up, then as the
/// schedule says.
double schedule_factor(Schedule schedule, int64_t step, int64_t steps, double warmup_ratio);

struct TrainResult {
  struct Check {
    int64_t step;
    double epoch;
    Evaluation validation;
  };
  std::vector<Check> checks;
  size_t best = 0;  // which check's weights the model has at the end
  int64_t steps = 0;
  double seconds = 0.0;            // of training, evaluations not counted
  double tokens_per_second = 0.0;  // padding not counted
};

/// What compress.json keeps of it: nothing that depends on the clock.
nlohmann::json history_json(const TrainResult& result);

/// Trains the model's parameters that require a gradient, and the objective's, with AdamW. `validate` is asked after
/// each epoch or as config.evaluate_every says, with the model in evaluation mode; the weights of the best check
/// (accuracy, then loss) are the model's at the end. Lines of metrics go to context.work_folder / "metrics.jsonl". The
/// order of the texts, dropout and so the result's bits follow from context.seed and the number of threads. Throws
/// Interrupted; DataError if the loss is not finite.
TrainResult train(torch::nn::Module& model, Objective& objective, const BatchSource& source, const TrainConfig& config,
                  const std::function<Evaluation()>& validate, Context& context);

/// The same for a classifier on the task's data, with the dropout that the config asks for: batches of the training
/// split, shuffled by context.seed; checks on the validation split.
TrainResult train_classifier(Classifier& model, Objective& objective, const Tokenizer& tokenizer,
                             const DataProvider& data, const TrainConfig& config, Context& context);

}  // namespace compression
