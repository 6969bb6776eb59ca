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
#include <string_view>
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

  /// How its numbers are stored: "F16", or of GGUF "Q4_K". Throws CheckpointError if there is no such tensor.
  virtual std::string_view encoding(const std::string& name) const;

  /// Fills `memory`, which has as many bytes as the tensor's numbers. Throws CheckpointError if there is no such tensor
  /// or the file has been cut short, StorageError if the system refuses.
  void read(const std::string& name, std::span<std::byte> memory) const;

  /// The tensor in memory of its own. Throws as read(), std::bad_alloc.
  HostTensor read(const std::string& name) const;

  /// Rows [first, first + rows) of a tensor that has them, in memory of their own. Throws as read().
  HostTensor read_rows(const std::string& name, int64_t first, int64_t rows) const;

 protected:
  explicit TensorFile(const std::filesystem::path& path);
  const InputFile& file() const { return *file_; }
  /// Reads what lies from `info.begin` to `info.end`: the tensor, or some of its rows.
  virtual void fill(const std::string& name, const TensorInfo& info, std::span<std::byte> memory) const = 0;

  std::map<std::string, TensorInfo> tensors_;

 private:
  std::shared_ptr<const InputFile> file_;
};

}  // namespace compression
