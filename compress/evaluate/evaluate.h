#pragma once
// A model's outputs on labelled texts, compared with the labels.

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "compress/evaluate/metrics.h"  // Metric
#include "compress/train/batch.h"       // Batch, BatchSource
#include "compress/workflow/context.h"  // Context

namespace compression {

/// Logits of a batch, float32 of the task's shape, from a model of any kind.
using LogitsFunction = std::function<torch::Tensor(const Batch&)>;

struct Evaluation {
  Metric metric = Metric::accuracy;   // what choices and goals are about
  std::map<Metric, double> values{};  // of all the task's metrics
  int64_t correct = 0;                // what accuracy or exact_match counts; 0 for tasks without them
  int64_t total = 0;                  // texts, pairs, labelled tokens or questions
  double loss = 0.0;                  // mean over them; of questions over their windows
  std::optional<double> threshold{};  // of questions that may have no answer: datasets/answers.h
  std::string remark{};               // where the metric is 0 by convention alone, why; not in JSON

  /// Of the metric; NaN, which is worse than every number, where nothing was evaluated.
  double value() const;

  /// By the metric, then by the loss.
  bool better_than(const Evaluation& other) const;

  /// Whether the metric is worse than that of `base` by at most `max_drop`, whichever way it counts.
  bool within(const Evaluation& base, double max_drop) const;
};

/// {"metric": "f1", "f1": 0.9, "exact_match": 0.8, "correct": 8, "total": 10, "loss": 0.4}, and "threshold" where there
/// is one.
void to_json(nlohmann::json& json, const Evaluation& evaluation);
void from_json(const nlohmann::json& json, Evaluation& evaluation);

/// "accuracy 0.9500 (19 of 20), loss 0.1000": the metric first, then the others.
std::string describe(const Evaluation& evaluation);

/// Gathers the outputs of batches.
class Scorer {
 public:
  virtual ~Scorer() = default;

  /// Both on the CPU.
  virtual void add(const Batch& batch, const torch::Tensor& logits) = 0;

  virtual Evaluation result() const = 0;
};

/// In inference mode and float32, with the source's scorer. Every example must have a label. Throws DataError if there
/// is nothing to score; Interrupted.
Evaluation evaluate(const LogitsFunction& logits, const BatchSource& source, const Context& context);

/// Calls visit(batch, logits) for every batch, both on the CPU. Throws Interrupted.
void each_output(const LogitsFunction& logits, const BatchSource& source, const Context& context,
                 const std::function<void(const Batch&, const torch::Tensor&)>& visit);

/// Outputs of every example, in the source's order, of tasks with one a text: float32 [examples, classes] on the CPU.
/// Throws Interrupted.
torch::Tensor predict(const LogitsFunction& logits, const BatchSource& source, const Context& context);

}  // namespace compression
