#pragma once
// One program at a time in a run's folder.

#include <filesystem>

namespace compression {

/// Holds FOLDER/.lock while it lives; the system lets go of it when the process dies. Makes the folder if it is not
/// there. Throws StorageError if it can't be made, or if another process holds the lock.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace compression
