#pragma once
// A file of tensors, whatever its format: what is in it is known when it is open, and each tensor is read when it is
// asked for.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compress/base/host_tensor.h"  // DType, HostTensor

namespace compression {

class InputFile;

struct TensorInfo {
  DType dtype = DType::float32;     // of the numbers that are read
  std::vector<int64_t> shape = {};  // empty for a scalar
  uint64_t begin = 0, end = 0;      // where its bytes are, from the data's begin
};

/// A file whose header has been read and checked. It stays open: what is put in its place afterwards is not seen, what
/// is written into it is. Any number of threads may read.
class TensorFile {
 public:
  virtual ~TensorFile() = default;

  const std::filesystem::path& path() const;
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }

  /// Throws CheckpointError if there is no such tensor.
  const TensorInfo& info(const std::string& name) const;

  /// Fills `memory`, which has as many bytes as the tensor's numbers. Throws CheckpointError if there is no such tensor
  /// or the file has been cut short, StorageError if the system refuses.
  void read(const std::string& name, std::span<std::byte> memory) const;

  /// The tensor in memory of its own. Throws as read(), std::bad_alloc.
  HostTensor read(const std::string& name) const;

 protected:
  explicit TensorFile(const std::filesystem::path& path);
  const InputFile& file() const { return *file_; }
  virtual void fill(const std::string& name, const TensorInfo& info, std::span<std::byte> memory) const = 0;

  std::map<std::string, TensorInfo> tensors_;

 private:
  std::shared_ptr<const InputFile> file_;
};

}  // namespace compression
