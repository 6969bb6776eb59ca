#include "compress/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "compress/base/error.h"    // CheckpointError, StorageError
#include "compress/base/failure.h"  // OutOfMemory
#include "compress/base/files.h"    // refused, sync_path, parent_of

namespace compression {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view what, int reason) {
  throw StorageError(refused(path, what, reason));
}

}  // namespace

Stream open_stream(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return {nullptr, &std::fclose};
  ::fcntl(descriptor, F_SETFL, 0);  // what is read may be waited for
  Stream stream(::fdopen(descriptor, "rb"), &std::fclose);
  if (!stream) ::close(descriptor);
  return stream;
}

InputFile::InputFile(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw CheckpointError(path_.string() + ": no such file");
    refuse(path_, "cannot be opened", errno);
  }
  struct stat status {};
  const bool examined = ::fstat(descriptor_, &status) == 0;
  const int reason = errno;
  if (examined && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (!examined) refuse(path_, "cannot be examined", reason);
  throw CheckpointError(path_.string() + ": found no regular file, expected one");
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

void InputFile::read(uint64_t begin, std::span<std::byte> bytes) const {
  for (size_t done = 0; done < bytes.size();) {
    const auto at = begin + done;
    const auto count = ::pread(descriptor_, bytes.data() + done, std::min(bytes.size() - done, size_t{1} << 30),
                               static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse(path_, "cannot be read", errno);
    if (count == 0) {
      struct stat status {};
      const auto found = ::fstat(descriptor_, &status) == 0 ? static_cast<uint64_t>(status.st_size) : at;
      throw CheckpointError(
          fmt::format("{}: found {} bytes, expected {}: it changed while it was read", path_.string(), found, size_));
    }
    done += static_cast<size_t>(count);
  }
}

FileContent::FileContent(const InputFile& file, uint64_t most_bytes) {
  const auto size = static_cast<size_t>(file.size());
  if (size > most_bytes) {
    throw CheckpointError(
        fmt::format("{}: found {} bytes, expected at most {}", file.path().string(), size, most_bytes));
  }
  if (size == 0) return;
  void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) throw OutOfMemory(fmt::format("{}: {} bytes", file.path().string(), size));
  const std::span<std::byte> bytes(static_cast<std::byte*>(start), size);
  try {
    file.read(0, bytes);
  } catch (...) {
    ::munmap(start, size);
    throw;
  }
  bytes_ = bytes;
}

FileContent::~FileContent() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)), written_path_(path_) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path_, ignored);
  if (std::filesystem::is_fifo(status)) refuse(path_, "is a pipe, expected a file or nothing", 0);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) written_path_ += ".partial";
  const int links = written_path_ == path_ ? 0 : O_NOFOLLOW;  // PATH.partial as a link is somebody else's
  descriptor_ = ::open(written_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | links, 0666);
  if (descriptor_ < 0) refuse(links ? written_path_ : path_, "cannot be created", errno);
  ::fcntl(descriptor_, F_SETFL, 0);  // not to wait was for the opening of a pipe
}

FileWriter::~FileWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (written_path_ != path_) ::unlink(written_path_.c_str());
}

void FileWriter::write(const void* data, size_t size) {
  const auto* next = static_cast<const char*>(data);
  while (size > 0) {
    const auto written = ::write(descriptor_, next, std::min(size, size_t{1} << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      refuse(path_, "cannot be written", errno);
    }
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void FileWriter::finish() {
  const bool is_device = written_path_ == path_;
  if (::fsync(descriptor_) != 0 && !is_device) refuse(path_, "cannot be synced", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const int reason = errno;
    if (!is_device) ::unlink(written_path_.c_str());
    refuse(path_, "cannot be closed", reason);
  }
  if (is_device) return;
  if (::rename(written_path_.c_str(), path_.c_str()) != 0) {
    const int reason = errno;
    ::unlink(written_path_.c_str());
    refuse(path_, "cannot be replaced", reason);
  }
  sync_path(parent_of(path_));  // or the new name may be lost with the power
}

}  // namespace compression
