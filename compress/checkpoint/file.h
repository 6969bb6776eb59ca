#pragma once
// Files as checkpoints need them: mapped for reading, written whole or not at all.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace compression {

/// A file in memory. Pages come from the file when touched; what is written to them stays in this process
/// (MAP_PRIVATE). The file must not be truncated in place while it is mapped: FileWriter replaces files instead.
class MappedFile {
 public:
  /// Throws CheckpointError if `path` is not a regular file, StorageError if the system refuses.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Writes PATH.partial, and renames it to PATH when all of it has reached the disk. What was at PATH stays until then,
/// and stays readable for those who have it mapped. A path that is there and not a regular file (/dev/full) is written
/// directly. All functions throw StorageError, which names the path and the system's reason.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();  // removes PATH.partial unless finished
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t size);

  /// Syncs, closes and renames. Nothing may be written afterwards.
  void finish();

 private:
  std::filesystem::path path_, written_path_;
  int descriptor_ = -1;
};

}  // namespace compression
