#pragma once
// What a stage gets from whoever runs it. There are no globals.

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace spdlog {
class logger;
}

namespace compression {

/// How far a long piece of work is: steps done, of how many, and a short text ("loss 0.31").
using Progress = std::function<void(int64_t done, int64_t total, std::string_view text)>;

/// Where training keeps its state, so that it can go on after it was stopped or killed (docs/artifact.md).
struct Checkpoints {
  std::filesystem::path folder;  // one for each call of train(); empty: nothing is kept
  std::string fingerprint;  // of what the caller's model, objective and data depend on: a state of another is not used
  double seconds = 60.0;    // at least so long between two writes; 0: every snapshot is written
};

struct Context {
  std::shared_ptr<spdlog::logger> logger;
  torch::Device device = torch::kCPU;
  uint64_t seed = 0;
  std::filesystem::path work_folder;
  std::filesystem::path cache_folder;  // for what can be made again; empty: nowhere
  Checkpoints checkpoints;
  Progress progress = [](int64_t, int64_t, std::string_view) {};
  const std::atomic<bool>* stop = nullptr;  // set by a signal: loops end with Interrupted at their next step

  /// Throws Interrupted if the user asked to stop.
  void check_stop() const;
};

}  // namespace compression
