#include "compress/workflow/folder_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "compress/workflow/error.h"  // StorageError

namespace compression {
namespace {

namespace fs = std::filesystem;

StorageError failure(const fs::path& path, std::string_view what) {
  return StorageError(fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

void sync(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  if (descriptor < 0) throw failure(path, "can't be opened to sync");
  const int result = ::fsync(descriptor);
  ::close(descriptor);
  if (result != 0) throw failure(path, "can't be synced");
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// Hidden, beside the folder.
fs::path beside(const fs::path& target, std::string_view suffix) {
  return parent_of(target) / ("." + target.filename().string() + std::string(suffix));
}

}  // namespace

void clear_leftovers(const fs::path& target) {
  const auto temporary = beside(target, ".tmp"), old = beside(target, ".old");
  std::error_code error;
  if (fs::exists(old, error) && !fs::exists(target, error)) fs::rename(old, target, error);
  if (!error) fs::remove_all(old, error);
  if (!error) fs::remove_all(temporary, error);
  if (error) throw StorageError(fmt::format("{}: can't be cleared: {}", temporary.string(), error.message()));
}

FolderWriter::FolderWriter(fs::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) target_ = target_.parent_path();
  clear_leftovers(target_);
  temporary_ = beside(target_, ".tmp");
  std::error_code error;
  fs::create_directories(temporary_, error);
  if (error) throw StorageError(fmt::format("{}: can't be made: {}", temporary_.string(), error.message()));
}

FolderWriter::~FolderWriter() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void FolderWriter::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) sync(entry.path());
  sync(temporary_);
  std::error_code error;
  if (fs::exists(target_)) {
    // The two change places in one step, so that a whole folder is there at every instant.
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
      committed_ = true;
      fs::remove_all(temporary_, error);
    } else {  // a file system that can't
      const auto old = beside(target_, ".old");
      fs::remove_all(old, error);
      if (::rename(target_.c_str(), old.c_str()) != 0) throw failure(target_, "can't be replaced");
      if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
        const auto problem = failure(target_, "can't be replaced");
        ::rename(old.c_str(), target_.c_str());
        throw problem;
      }
      committed_ = true;
      fs::remove_all(old, error);
    }
  } else {
    fs::rename(temporary_, target_, error);
    if (error) throw StorageError(fmt::format("{}: can't be put in place: {}", target_.string(), error.message()));
    committed_ = true;
  }
  sync(parent_of(target_));
}

}  // namespace compression
