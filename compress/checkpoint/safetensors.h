#pragma once
// The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes with the header's length, little-endian; a
// JSON header that gives dtype, shape and place of every tensor; the tensors' bytes, row by row.

#include <map>
#include <string>

#include "compress/checkpoint/tensor_file.h"  // TensorFile

namespace compression {

/// Its header has been checked as a whole: every tensor lies in the file, the tensors cover the data without hole or
/// overlap, and every tensor's bytes are those of its shape and dtype. Of BOOL any byte but 0 is read as 1.
class SafetensorsFile : public TensorFile {
 public:
  /// Only the header is read. Throws CheckpointError that names file, tensor, what was found and what was expected.
  static SafetensorsFile open(const std::filesystem::path& path) { return SafetensorsFile(path); }

  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 protected:
  void fill(const std::string& name, const TensorInfo& info, std::span<std::byte> memory) const override;

 private:
  explicit SafetensorsFile(const std::filesystem::path& path);

  uint64_t data_begin_ = 0;
  std::map<std::string, std::string> metadata_;
};

/// Writes `tensors`, each read when it is its turn, in the order of the reference library (widest dtype first, then by
/// name), so that the bytes are the same as its own. Throws UnsupportedError for a name that the format cannot hold,
/// StorageError if the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, LazyTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// "U64, I64, ...": the dtypes that the format has.
std::string safetensors_dtypes();

}  // namespace compression
