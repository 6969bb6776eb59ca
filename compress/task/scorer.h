#pragma once
// What outputs on labelled texts are worth.

#include <torch/types.h>

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "compress/model/batch.h"   // Batch
#include "compress/task/metrics.h"  // Metric

namespace compression {

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

}  // namespace compression
