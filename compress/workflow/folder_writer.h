#pragma once
// A folder that is whole or not there: written under a temporary name, synced, renamed. What is not of this program's
// making (own_folder.h) is never replaced or removed.

#include <filesystem>

namespace compression {

/// Puts right what a killed FolderWriter for `target` left: a whole folder that was about to be replaced goes back to
/// its place if nothing is there, and temporary ones are removed. Throws StorageError; ConfigError if what stands under
/// their names is not ours.
void clear_leftovers(const std::filesystem::path& target);

class FolderWriter {
 public:
  /// clear_leftovers(), then makes a folder beside `target`, empty but for its mark. Throws StorageError; ConfigError
  /// if `target` is there and not ours.
  explicit FolderWriter(std::filesystem::path target);

  /// Removes what was written, unless commit() has run.
  ~FolderWriter();
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  /// Where to write.
  const std::filesystem::path& folder() const { return temporary_; }

  /// Syncs every file, then puts the folder in the place of `target`; what was there is removed afterwards.
  /// Throws StorageError, or ConfigError if what is there is not ours; then `target` is as it was.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

}  // namespace compression
