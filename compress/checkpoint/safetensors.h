#pragma once
// The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes with the header's length, little-endian; a
// JSON header that gives dtype, shape and place of every tensor; the tensors' bytes, row by row.

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace compression {

class FileContent;

struct TensorInfo {
  torch::ScalarType dtype = torch::kFloat;
  std::vector<int64_t> shape = {};  // empty for a scalar
  uint64_t begin = 0, end = 0;      // bytes, from the end of the header
};

/// A safetensors file, in memory. Its header has been checked as a whole: every tensor lies in the file, the
/// tensors cover the data without hole or overlap, and every tensor's bytes are those of its shape and dtype.
class SafetensorsFile {
 public:
  /// Throws CheckpointError that names file, tensor, what was found and what was expected.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// A view of the file's bytes, which it keeps alive; changes made to it do not reach the file. A copy where the bytes
  /// are not aligned for the dtype, and for BOOL, where any byte but 0 is true. Throws CheckpointError if there is no
  /// such tensor.
  torch::Tensor read(const std::string& name) const;

 private:
  std::string path_;
  std::shared_ptr<FileContent> file_;
  uint64_t data_begin_ = 0;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// The tensors that a file says it has, checked as SafetensorsFile::open() does; only the header is read.
std::map<std::string, TensorInfo> read_safetensors_header(const std::filesystem::path& path);

/// Writes `tensors` in the order of the reference library (widest dtype first, then by name), so that the bytes are the
/// same as its own. Tensors may be on any device and need not be contiguous; those that share memory are written each
/// on its own. Throws UnsupportedError for a tensor that the format cannot hold, StorageError if the file cannot be
/// written.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, torch::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace compression
