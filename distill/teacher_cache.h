#pragma once
// Teachers' logits on disk, so that another stage, run or sweep need not compute them again.

#include <torch/types.h>

#include <filesystem>
#include <optional>
#include <string>

namespace compression::distill {

/// A folder of safetensors files, one a key, of at most `max_bytes` in all. Files of others in it are left alone. Runs
/// may share it.
class TeacherCache {
 public:
  TeacherCache(std::filesystem::path folder, int64_t max_bytes) : folder_(std::move(folder)), max_(max_bytes) {}

  /// float32 [examples, classes], or nothing; a damaged file is as good as none.
  std::optional<torch::Tensor> find(const std::string& key) const;

  /// Keeps the logits, whole or not at all, and removes what was not used for longest where the folder grows too large.
  /// False if they alone are larger than that. Throws StorageError.
  bool keep(const std::string& key, const torch::Tensor& logits) const;

  std::filesystem::path file(const std::string& key) const;

 private:
  std::filesystem::path folder_;
  int64_t max_;
};

}  // namespace compression::distill
