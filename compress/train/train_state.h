#pragma once
// The state of a training run: all that its next steps depend on; in memory and on disk (docs/artifact.md).

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/state_dict/state_dict.h"  // StateDict
#include "compress/train/loss_scale.h"       // LossScale
#include "compress/train/spike.h"            // RecentLosses
#include "compress/train/trainer.h"          // TrainResult

namespace compression {

/// Sums over steps, for a line of metrics.jsonl.
struct StepSums {
  int64_t steps = 0;
  double loss = 0.0, tokens = 0.0, seconds = 0.0;
};

/// Where a run is, apart from tensors.
struct TrainProgress {
  int64_t step = 0;           // optimizer steps done
  int64_t epoch = 0;          // of the next batch
  int64_t batch = 0;          // position of the next batch in the epoch's plan
  bool check_due = false;     // validation comes before the next step
  bool snapshot_due = false;  // a snapshot is taken when the next step's loss has shown that the weights are good
  double learning_rate_factor = 1.0;
  LossScale loss_scale;
  int64_t skipped_steps = 0, hard_steps = 0, empty_steps = 0;
  RecentLosses losses;
  std::vector<TrainResult::Rollback> rollbacks;
  std::vector<TrainResult::Check> checks;
  size_t best = 0;  // position in `checks`
  StepSums since_line;
  double seconds = 0.0, tokens = 0.0;  // up to the last line
  std::string metrics;                 // metrics.jsonl so far
};

struct TrainState {
  TrainProgress progress;
  StateDict tensors;  // model, objective, optimizer, generators; and the best weights, named "best.NAME"
};

/// Keeps states in a folder: two files that are written in turn, so that a whole one is there at every instant.
class StateFiles {
 public:
  /// A state is used only if it has this fingerprint. `environment` is what decides bits besides: device, threads, ...;
  /// where it differs from the state's, the log says so.
  StateFiles(std::filesystem::path folder, std::string fingerprint, std::map<std::string, std::string> environment);

  struct Found {
    TrainState snapshot;                // what training goes back to from a jump
    std::optional<TrainState> stopped;  // where it was when it was stopped
  };

  /// The newest state that is whole. Files that are damaged or of another fingerprint are told to the logger and left
  /// out.
  std::optional<Found> read(spdlog::logger& logger);

  /// `stopped`, if not null, has the same best weights as the snapshot. Makes the folder. Throws StorageError; then the
  /// file that was written before is still there.
  void write(const TrainState& snapshot, const TrainState* stopped);

 private:
  std::filesystem::path file(uint64_t sequence) const;
  std::filesystem::path folder_;
  std::string fingerprint_;
  std::map<std::string, std::string> environment_;
  uint64_t sequence_ = 0;  // of the last file that was read or written
};

}  // namespace compression
