#include "compress/train/train_state.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "compress/base/error.h"                  // Error
#include "compress/base/failure.h"                // is_out_of_memory
#include "compress/base/files.h"                  // make_folder
#include "compress/state_dict/checked_tensors.h"  // read_checked, write_checked

namespace compression {

using nlohmann::json;
namespace fs = std::filesystem;

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LossScale, scale, good_steps)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RecentLosses, recent, first_median)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StepSums, steps, loss, tokens, seconds)

static void to_json(json& j, const TrainResult::Check& check) {
  j = {{"step", check.step}, {"epoch", check.epoch}, {"validation", check.validation}};
}

static void from_json(const json& j, TrainResult::Check& check) {
  check = {j.at("step"), j.at("epoch"), j.at("validation").get<Evaluation>()};
}

static void to_json(json& j, const TrainResult::Rollback& rollback) {
  j = {{"step", rollback.step},       {"reason", rollback.reason},
       {"loss", rollback.loss},       {"median", rollback.median},
       {"back_to", rollback.back_to}, {"learning_rate_factor", rollback.learning_rate_factor}};
}

static void from_json(const json& j, TrainResult::Rollback& rollback) {
  rollback = {.step = j.at("step"),
              .reason = j.at("reason"),
              .loss = j.at("loss"),
              .median = j.at("median"),
              .back_to = j.at("back_to"),
              .learning_rate_factor = j.at("learning_rate_factor")};
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TrainProgress, step, epoch, batch, check_due, snapshot_due, learning_rate_factor,
                                   loss_scale, skipped_steps, hard_steps, empty_steps, losses, rollbacks, checks, best,
                                   since_line, seconds, tokens, metrics)

namespace {

constexpr auto format_text = "compress training state 3";
constexpr std::string_view progress_name = "progress", best_prefix = "best.";
using Metadata = std::map<std::string, std::string>;

/// CBOR, because JSON text has no number for a loss that is none.
torch::Tensor progress_tensor(const TrainProgress& progress) {
  const auto bytes = json::to_cbor(json(progress));
  return torch::tensor(at::ArrayRef<uint8_t>(bytes), torch::kByte);
}

TrainProgress read_progress(const torch::Tensor& bytes) {
  const auto* begin = bytes.data_ptr<uint8_t>();
  return json::from_cbor(begin, begin + bytes.numel()).get<TrainProgress>();
}

void add_state(StateDict& all, const std::string& prefix, const TrainState& state, bool with_best) {
  all[prefix + std::string(progress_name)] = progress_tensor(state.progress);
  for (const auto& [name, tensor] : state.tensors) {
    if (with_best || !name.starts_with(best_prefix)) {
      all[prefix + "tensors." + name] = tensor.detach().to(torch::kCPU).contiguous();
    }
  }
}

std::optional<TrainState> take_state(const StateDict& all, const std::string& prefix) {
  const auto progress = all.find(prefix + std::string(progress_name));
  if (progress == all.end()) return std::nullopt;
  TrainState state{.progress = read_progress(progress->second), .tensors = {}};
  const auto start = prefix + "tensors.";
  for (auto it = all.lower_bound(start); it != all.end() && it->first.starts_with(start); ++it) {
    state.tensors[it->first.substr(start.size())] = it->second;
  }
  return state;
}

uint64_t sequence_of(const Metadata& metadata) {
  const auto found = metadata.find("sequence");
  return found == metadata.end() ? 0 : std::strtoull(found->second.c_str(), nullptr, 10);
}

}  // namespace

StateFiles::StateFiles(fs::path folder, std::string fingerprint, Metadata environment)
    : folder_(std::move(folder)), fingerprint_(std::move(fingerprint)), environment_(std::move(environment)) {}

fs::path StateFiles::file(uint64_t sequence) const {
  return folder_ / fmt::format("state-{}.safetensors", sequence % 2);
}

std::optional<StateFiles::Found> StateFiles::read(spdlog::logger& logger) {
  std::optional<Found> newest;
  Metadata metadata;
  for (const auto& path : {file(0), file(1)}) {
    std::error_code unreadable;
    if (!fs::exists(path, unreadable)) continue;
    try {
      const auto [tensors, own] = read_checked(path);
      if (own.at("format") != format_text || own.at("fingerprint") != fingerprint_) {
        logger.info("{}: the state of a run with other settings or inputs, not used", path.string());
        continue;
      }
      if (newest && sequence_of(own) < sequence_) continue;
      newest = Found{take_state(tensors, "snapshot.").value(), take_state(tensors, "stopped.")};
      metadata = own;
      sequence_ = sequence_of(own);
    } catch (const std::exception& error) {
      if (is_out_of_memory(error)) throw;
      logger.warn("a saved state of training is damaged and is not used: {}", error.what());
    }
  }
  if (!newest) return std::nullopt;
  if (newest->stopped) {
    for (const auto& [name, tensor] : newest->snapshot.tensors) {
      if (name.starts_with(best_prefix)) newest->stopped->tensors[name] = tensor;
    }
  }
  for (const auto& [key, value] : environment_) {
    const auto found = metadata.find(key);
    if (found == metadata.end() || found->second != value) {
      logger.warn("the saved state of training was made with {} {}, and now it is {}: the result's bits may differ",
                  key, found == metadata.end() ? "unknown" : found->second, value);
    }
  }
  return newest;
}

void StateFiles::write(const TrainState& snapshot, const TrainState* stopped) {
  make_folder(folder_);
  StateDict tensors;
  add_state(tensors, "snapshot.", snapshot, true);
  if (stopped != nullptr) add_state(tensors, "stopped.", *stopped, false);
  auto metadata = environment_;
  metadata["format"] = format_text;
  metadata["fingerprint"] = fingerprint_;
  metadata["sequence"] = std::to_string(sequence_ + 1);
  write_checked(file(sequence_ + 1), tensors, metadata);
  ++sequence_;
}

}  // namespace compression
