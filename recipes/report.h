#pragma once
// What a run reached, as report.json and report.md.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/evaluate/evaluate.h"  // Evaluation
#include "compress/evaluate/timing.h"    // Timing
#include "compress/workflow/machine.h"   // Machine

namespace compression::recipes {

/// What zeros in a pattern bring on this machine.
struct ZerosReport {
  std::string pattern;
  double density = 1.0;               // of the blocks' linear layers
  int64_t layers = 0, sparse = 0;     // linear layers of the blocks; those whose zeros a kernel leaves out
  std::optional<Timing> as_if_dense;  // the throughput where none does; absent: no weight is int8

  bool operator==(const ZerosReport&) const = default;
};

struct StageReport {
  std::string id, kind, fingerprint;
  Evaluation reached;       // on the split that is reported on; without values of a folder without a head for the task
  double validation = 0.0;  // the metric's value on the validation texts
  int64_t parameters = 0;
  int64_t macs = 0;                                        // of the encoder, for one text of max_length tokens
  int64_t bytes = 0;                                       // of the model file
  std::optional<Timing> latency;                           // one text of max_length tokens; absent: not measured
  std::optional<Timing> throughput;                        // 32 of them; a call's milliseconds
  std::optional<int64_t> peak_memory, peak_device_memory;  // bytes, while the stage ran; absent where not known
  nlohmann::json rollbacks = nlohmann::json::array();      // of training, as in compress.json
  nlohmann::json rounds = nlohmann::json::array();         // of gradual pruning, as in compress.json
  std::optional<ZerosReport> zeros;                        // of a model with a pattern, once it was measured
  bool has_scores = false;                                 // of units, as a picture in the stage's folder
  bool skipped = false;                                    // it was there already

  double value() const { return reached.value(); }
  static constexpr int64_t throughput_batch = 32;
};

/// A stage that a run which ended early has not finished.
struct UnfinishedStage {
  std::string id, kind;
  std::string state;    // failed, stopped or not run
  std::string message;  // of one that failed or was stopped
};

struct GoalReport {
  std::string goal, wanted, reached;
  bool met = false;
};

struct Report {
  std::string name, split;
  Metric metric = Metric::accuracy;
  int64_t max_length = 0, train_size = 0, validation_size = 0, reported_size = 0;
  uint64_t seed = 0;
  std::string baseline;  // the stage or folder that drops and ratios count from
  Machine machine;
  std::vector<StageReport> references;  // folders that goals count from: id is the folder, kind "model"
  std::vector<StageReport> stages;
  std::vector<GoalReport> goals;
  std::vector<std::string> warnings;  // what may have cost accuracy, in whole sentences
  std::string error;                  // what ended the run before its end, on one line; empty: nothing
  std::vector<UnfinishedStage> unfinished;

  /// Whether it ran to its end and no goal was missed.
  bool met() const;
  const StageReport* find(const std::string& id) const;  // of stages, then of references

  /// How much worse the metric is than the base's.
  double drop(const StageReport& stage, const StageReport& base) const;
};

/// A metric's value as reports show it: "97.50 %", or "12.34" of those that have no upper bound.
std::string value_text(Metric metric, double value);

/// How far a metric is on its worse side: "0.50 points below", or "0.034 above" of errors.
std::string drop_text(Metric metric, double drop);

nlohmann::json report_json(const Report& report);
std::string report_markdown(const Report& report);

}  // namespace compression::recipes
