#include "compress/workflow/folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "compress/base/error.h"  // StorageError
#include "compress/base/files.h"  // make_folder, refused

namespace compression {

FolderLock::FolderLock(const std::filesystem::path& folder) {
  make_folder(folder);
  const auto file = folder / ".lock";
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw StorageError(refused(file, "can't be written", errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    ::close(descriptor_);
    throw StorageError(reason == EWOULDBLOCK ? fmt::format("{}: another run is at work in this folder", folder.string())
                                             : refused(file, "can't be locked", reason));
  }
}

FolderLock::~FolderLock() {
  ::close(descriptor_);
}

}  // namespace compression
