#include "compress/base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "compress/base/error.h"  // StorageError

namespace compression {

std::string refused(const std::filesystem::path& path, std::string_view what, int reason) {
  if (reason == 0) return fmt::format("{}: {}", path.string(), what);
  return fmt::format("{}: {}: {}", path.string(), what, std::generic_category().message(reason));
}

void sync_path(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw StorageError(refused(path, "can't be opened to sync", errno));
  const int reason = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  const bool unable = reason == EINVAL || reason == ENOTSUP || reason == EROFS;
  if (reason != 0 && !unable) throw StorageError(refused(path, "can't be synced", reason));
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw StorageError(fmt::format("{}: can't be made: {}", folder.string(), error.message()));
}

std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace compression
