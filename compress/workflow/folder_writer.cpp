#include "compress/workflow/folder_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "compress/base/error.h"           // StorageError
#include "compress/base/files.h"           // make_folder, refused, sync_path, parent_of
#include "compress/workflow/own_folder.h"  // require_ours, remove_ours

namespace compression {
namespace {

namespace fs = std::filesystem;

StorageError failure(const fs::path& path, std::string_view what) {
  return StorageError(refused(path, what, errno));
}

/// Hidden, beside the folder.
fs::path beside(const fs::path& target, std::string_view suffix) {
  return parent_of(target) / ("." + target.filename().string() + std::string(suffix));
}

}  // namespace

void clear_leftovers(const fs::path& target) {
  const auto old = beside(target, ".old");
  std::error_code error;
  if (fs::exists(old, error) && !fs::exists(target, error)) {
    require_ours(old);
    fs::rename(old, target, error);
    if (error) throw StorageError(fmt::format("{}: can't be put back: {}", old.string(), error.message()));
  }
  remove_ours(old);
  remove_ours(beside(target, ".tmp"));
  if (is_ours(target)) fs::remove(target / unfinished_name, error);
}

FolderWriter::FolderWriter(fs::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) target_ = target_.parent_path();
  require_ours(target_);
  clear_leftovers(target_);
  temporary_ = beside(target_, ".tmp");
  make_folder(temporary_);
  const auto mark = temporary_ / unfinished_name;  // one step: a kill leaves a folder that is empty, or marked
  const int descriptor = ::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) throw failure(mark, "can't be made");
  ::close(descriptor);
}

FolderWriter::~FolderWriter() {
  if (committed_) return;
  try {
    remove_ours(temporary_);
  } catch (const std::exception&) {  // the next one for the same target removes it
  }
}

void FolderWriter::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) sync_path(entry.path());
  sync_path(temporary_);
  require_ours(target_);
  std::error_code error;
  auto left = temporary_;  // where the folder is afterwards that was there
  if (fs::exists(fs::symlink_status(target_, error))) {
    // The two change places in one step, so that a whole folder is there at every instant.
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
      left = beside(target_, ".old");  // a file system that can't
      remove_ours(left);
      if (::rename(target_.c_str(), left.c_str()) != 0) throw failure(target_, "can't be replaced");
      if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
        const auto problem = failure(target_, "can't be replaced");
        ::rename(left.c_str(), target_.c_str());
        throw problem;
      }
    }
  } else if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    throw failure(target_, "can't be put in place");
  }
  committed_ = true;
  fs::remove(target_ / unfinished_name, error);
  sync_path(target_);
  sync_path(parent_of(target_));
  try {
    remove_ours(left);
  } catch (const Error&) {  // the next run removes it
  }
}

}  // namespace compression
