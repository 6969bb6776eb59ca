#pragma once
// Teachers' outputs on disk, so that another stage, run or sweep need not compute them again.

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "compress/task/batch_source.h"  // BatchSource, TaskHead

namespace compression::distill {

/// What a teacher's outputs are kept by: this program, the files of the teacher's folder, its head and the names of its
/// outputs in their order, the texts as it reads them, and the arithmetic. new_head: the seed of a head that the files
/// do not have.
std::string teacher_key(const std::filesystem::path& folder, const TaskHead& head, std::optional<uint64_t> new_head,
                        bool hidden_states, const BatchSource& source, std::string_view arithmetic);

/// A folder of safetensors files, one a key, of at most `max_bytes` in all. Files of others in it are left alone. Runs
/// may share it; one at a time writes, under a FolderLock.
class TeacherCache {
 public:
  TeacherCache(std::filesystem::path folder, int64_t max_bytes) : folder_(std::move(folder)), max_(max_bytes) {}

  using Tensors = std::map<std::string, torch::Tensor>;

  /// What was kept, or nothing; a damaged file is as good as none.
  std::optional<Tensors> find(const std::string& key) const;

  /// Keeps the tensors, whole or not at all, and removes what was not used for longest where the folder grows too
  /// large, and what runs that were killed left half-written. False if they alone are larger than that. Throws
  /// StorageError, too where another run is writing.
  bool keep(const std::string& key, const Tensors& tensors) const;

  std::filesystem::path file(const std::string& key) const;
  int64_t max_bytes() const { return max_; }

 private:
  std::filesystem::path folder_;
  int64_t max_;
};

}  // namespace compression::distill
