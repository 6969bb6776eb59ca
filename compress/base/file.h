#pragma once
// Files as checkpoints need them: read as they are at one time, written whole or not at all.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>

namespace compression {

/// Opens a file for reading, null where the system refuses (errno says why). A pipe that nobody writes to is empty: it
/// does not make us wait.
using Stream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
Stream open_stream(const std::filesystem::path& path);

/// A regular file that is open for reading.
class InputFile {
 public:
  /// Does not wait where `path` is a pipe. Throws CheckpointError if it is not a regular file, or not there;
  /// StorageError if the system refuses.
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }

  /// Fills `bytes` with those from `begin` on. Throws CheckpointError if the file has been cut short since it was
  /// opened, StorageError if the system refuses.
  void read(uint64_t begin, std::span<std::byte> bytes) const;

 private:
  std::filesystem::path path_;
  int descriptor_;
  uint64_t size_ = 0;
};

/// A file's bytes, copied into memory: whatever is done to the file afterwards does not reach them.
class FileContent {
 public:
  /// Throws CheckpointError if the file has more than `most_bytes`, or as InputFile::read(); OutOfMemory.
  explicit FileContent(const InputFile& file, uint64_t most_bytes = std::numeric_limits<uint64_t>::max());
  ~FileContent();
  FileContent(const FileContent&) = delete;
  FileContent& operator=(const FileContent&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Writes PATH.partial, and renames it to PATH when all of it has reached the disk. What was at PATH stays until then.
/// A path that is there and not a regular file (/dev/full) is written directly; a pipe, which might wait for ever, is
/// refused. All functions throw StorageError, which names the path and the system's reason.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();  // removes PATH.partial unless finished
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t size);

  /// Syncs, closes, renames and syncs the folder. Nothing may be written afterwards.
  void finish();

 private:
  std::filesystem::path path_, written_path_;
  int descriptor_ = -1;
};

}  // namespace compression
