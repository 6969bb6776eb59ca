#pragma once
// A folder that is whole or not there: written under a temporary name, synced, renamed.

#include <filesystem>

namespace compression {

class FolderWriter {
 public:
  /// Makes an empty folder beside `target`, and removes what a killed run left of such. Throws StorageError.
  explicit FolderWriter(std::filesystem::path target);

  /// Removes what was written, unless commit() has run.
  ~FolderWriter();
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  /// Where to write.
  const std::filesystem::path& folder() const { return temporary_; }

  /// Syncs every file, then puts the folder in the place of `target`; what was there is removed afterwards.
  /// Throws StorageError; then `target` is as it was.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

}  // namespace compression
