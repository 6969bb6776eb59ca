#pragma once
// What several tests share: golden tensors, a comparer, a tiny model, folders that go away.

#include <fmt/format.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <random>

#include "compress/checkpoint/safetensors.h"
#include "compress/model_folder/model_folder.h"
#include "compress/state_dict/state_dict.h"
#include "compress/task/batch_source.h"
#include "compress/workflow/context.h"

namespace compression::testing {

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(COMPRESS_GOLDENS) / name;
}

/// Whether a folder of models/ (scripts/fetch_models.sh) is there. Where it is not, the case says that it is skipped
/// (ctest counts it so), and should return.
inline bool has_real_model(const std::string& name) {
  const auto folder = std::filesystem::path(COMPRESS_SOURCE_DIR) / "models" / name;
  if (std::filesystem::exists(folder)) return true;
  WARN("SKIPPED: " << folder.string() << " is not there");
  return false;
}

/// Reads every tensor of a golden file.
inline std::map<std::string, torch::Tensor> golden_tensors(const std::string& name) {
  return read_tensors(SafetensorsFile::open(golden(name)));
}

/// Fails with the place and the two values where tensors differ most.
inline void check_close(const torch::Tensor& found, const torch::Tensor& expected, double tolerance) {
  REQUIRE(found.sizes() == expected.sizes());
  const auto difference = (found.detach().to(torch::kDouble) - expected.detach().to(torch::kDouble)).abs().flatten();
  const auto at = difference.argmax().item<int64_t>();
  INFO(fmt::format("element {} of {}: found {}, expected {}", at, difference.numel(),
                   found.flatten()[at].item<double>(), expected.flatten()[at].item<double>()));
  CHECK(difference[at].item<double>() <= tolerance);
}

inline Batch golden_batch(const std::map<std::string, torch::Tensor>& tensors) {
  const auto get = [&](const char* name) { return tensors.contains(name) ? tensors.at(name) : torch::Tensor(); };
  return {get("input_ids"), get("attention_mask"), get("token_type_ids"), get("labels"),
          torch::arange(tensors.at("input_ids").size(0))};
}

/// Blocks of so many heads and FFN units each, for the rest as `like`.
inline std::vector<BlockSpec> blocks(std::initializer_list<std::pair<int64_t, int64_t>> sizes, int64_t head_size,
                                     const BlockSpec& like = {}) {
  std::vector<BlockSpec> all;
  for (const auto& [heads, units] : sizes) {
    all.push_back(like);
    all.back().attention.heads = heads;
    all.back().attention.head_size = head_size;
    all.back().mlp.units = units;
  }
  return all;
}

inline Model tiny_model() {
  return load_model(golden("model/tiny")).model;
}

/// The folders of goldens/model/families: a model type, or one with other options.
inline std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden("model/families"))) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// One batch of texts, in memory, over and over.
class OneBatch : public BatchSource {
 public:
  explicit OneBatch(Batch batch, int64_t batch_size = 1 << 20) : batch_(std::move(batch)), batch_size_(batch_size) {}
  int64_t size() const override { return batch_.size(); }
  std::vector<std::vector<int64_t>> plan(int64_t) const override {
    std::vector<std::vector<int64_t>> plan;
    for (int64_t i = 0; i < size(); ++i) {
      if (i % batch_size_ == 0) plan.emplace_back();
      plan.back().push_back(i);
    }
    return plan;
  }
  Batch collate(std::span<const int64_t> examples, int64_t = 0) const override {
    const auto rows = torch::tensor(std::vector<int64_t>(examples.begin(), examples.end()));
    const auto pick = [&](const torch::Tensor& t) { return t.defined() ? t.index_select(0, rows) : t; };
    return {pick(batch_.input_ids), pick(batch_.attention_mask), pick(batch_.token_type_ids), pick(batch_.labels),
            rows};
  }

 private:
  Batch batch_;
  int64_t batch_size_;
};

/// A new folder under the system's temporary one, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("compress-test-{:016x}", std::random_device{}() * 0x9E3779B97F4A7C15ull);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline Context quiet_context(const std::filesystem::path& work_folder) {
  Context context;
  context.logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::null_sink_mt>());
  context.work_folder = work_folder;
  return context;
}

/// The message of the Error that `work` throws.
template <class E, class Work>
std::string message_of(Work&& work) {
  try {
    work();
  } catch (const E& error) {
    return error.what();
  }
  FAIL("nothing of the expected kind was thrown");
  return {};
}

}  // namespace compression::testing
