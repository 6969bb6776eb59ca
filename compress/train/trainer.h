#pragma once
// The training loop.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/evaluate/evaluate.h"  // Evaluation
#include "compress/train/config.h"       // TrainConfig
#include "compress/train/objective.h"    // Objective
#include "compress/train/precision.h"    // PrecisionChoice

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
  /// A step that was not taken, because its loss or its gradient was no number, or the weights had gone astray.
  struct Rollback {
    int64_t step = 0;  // the step's number, from 1
    std::string reason;
    double loss = 0.0;
    double median = 0.0;                // of the losses before it; 0 where there were none
    int64_t back_to = 0;                // steps that were left
    double learning_rate_factor = 1.0;  // from here on
  };
  std::vector<Check> checks;
  std::vector<Rollback> rollbacks;
  int64_t skipped_steps = 0;  // whose gradient was too large for the loss scale (fp16)
  int64_t hard_steps = 0;     // whose loss stood out while other texts' did not: hard texts, or wrong labels
  size_t best = 0;            // which check's weights the model has at the end
  int64_t steps = 0;
  double seconds = 0.0;            // of training, evaluations not counted
  double tokens_per_second = 0.0;  // padding not counted
  PrecisionChoice precision;       // what products were made with
};

/// What compress.json keeps of it: nothing that depends on the clock, but for what precision: auto has measured.
nlohmann::json history_json(const TrainResult& result);

/// Trains the model's parameters that require a gradient, and the objective's, with AdamW. `validate` is asked after
/// each epoch or as config.evaluate_every says, with the model in evaluation mode; the weights of the best check
/// (metric, then loss) are the model's at the end. Lines of metrics go to context.work_folder / "metrics.jsonl". The
/// order of the texts, dropout and so the result's bits follow from context.seed and the number of threads.
///
/// A loss or gradient that is no number, and weights that have gone astray, take training back to the last snapshot,
/// with half the learning rate. Where a step's loss stands out (train/spike.h), the losses of other batches tell
/// whether the weights have, or its texts are hard: only if most are above the limit too, and above twice what the
/// snapshot's weights give, is it the weights. Hard texts are trained on like all others.
///
/// `precision` is what choose_precision() has said of the config; absent, it is asked here. Weights of `sparse` that
/// are 0 stay 0: they get no gradient, and so neither moments nor a share of its norm.
///
/// With context.checkpoints.folder, a call that was stopped or killed goes on from the state that it finds there, and
/// ends with the bits of one that was never stopped, if the objective and the batches depend on nothing that the state
/// does not hold: parameters, LibTorch's generator, and the arguments. The folder is the caller's to remove when the
/// result is safe.
///
/// Throws Interrupted, with the state kept; DataError if training went back max_rollbacks times and would have to
/// again, or if there is no text; StorageError.
TrainResult train(torch::nn::Module& model, Objective& objective, const BatchSource& source, const TrainConfig& config,
                  const std::function<Evaluation()>& validate, Context& context,
                  const std::optional<PrecisionChoice>& precision = std::nullopt,
                  const std::vector<torch::Tensor>& sparse = {});

/// The batches that train_model() trains on.
std::shared_ptr<const BatchSource> training_batches(const Tokenizer& tokenizer, const DataProvider& data,
                                                    const TrainConfig& config, const Context& context);

/// The same for a model on the task's data, with the dropout that the config asks for: batches of the training
/// split, shuffled by context.seed; checks on the validation split. A model with a sparsity pattern keeps its zeros.
TrainResult train_model(Model& model, Objective& objective, const Tokenizer& tokenizer, const DataProvider& data,
                        const TrainConfig& config, Context& context,
                        const std::optional<PrecisionChoice>& precision = std::nullopt);

}  // namespace compression
