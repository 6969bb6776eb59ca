#include "compress/workflow/input_files.h"

#include <sys/stat.h>

#include "compress/base/error.h"        // DataError
#include "compress/base/fingerprint.h"  // file_fingerprint

namespace compression {

InputFiles::Stamp InputFiles::stamp(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, static_cast<uintmax_t>(status.st_size), status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec};
}

void InputFiles::add(const std::filesystem::path& file) {
  const auto before = stamp(file);  // what changes while it is hashed is found by the next check
  files_[file] = {before, file_fingerprint(file)};
}

void InputFiles::check() {
  for (auto& [file, entry] : files_) {
    const auto now = stamp(file);
    if (now == entry.stamp) continue;
    std::error_code unreadable;
    if (!std::filesystem::exists(file, unreadable) || file_fingerprint(file) != entry.hash) {
      throw DataError(file.string() + ": changed while the run was at work; what was read of it is not there any more");
    }
    entry.stamp = now;
  }
}

}  // namespace compression
