#pragma once
// Files as checkpoints need them: read as they are at one time, written whole or not at all.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace compression {

/// A file's bytes, copied into memory: whatever is done to the file afterwards does not reach them.
class FileContent {
 public:
  /// Throws CheckpointError if `path` is not a regular file, or is cut short while it is read; StorageError if the
  /// system refuses.
  explicit FileContent(const std::filesystem::path& path);
  ~FileContent();
  FileContent(const FileContent&) = delete;
  FileContent& operator=(const FileContent&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Writes PATH.partial, and renames it to PATH when all of it has reached the disk. What was at PATH stays until then.
/// A path that is there and not a regular file (/dev/full) is written
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
