#include "compress/checkpoint/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "compress/workflow/error.h"  // CheckpointError, StorageError

namespace compression {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view what, int reason) {
  throw StorageError(fmt::format("{}: {}: {}", path.string(), what, std::strerror(reason)));
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

}  // namespace

FileContent::FileContent(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe must not make us wait
  if (file.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw CheckpointError(path.string() + ": no such file");
    refuse(path, "cannot be opened", errno);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) refuse(path, "cannot be examined", errno);
  if (!S_ISREG(status.st_mode)) throw CheckpointError(path.string() + ": found no regular file, expected one");
  if (status.st_size == 0) return;

  const auto size = static_cast<size_t>(status.st_size);
  void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) refuse(path, "no memory for its bytes", errno);
  bytes_ = {static_cast<std::byte*>(start), size};
  for (size_t done = 0; done < size;) {
    const auto count = ::read(file.get(), bytes_.data() + done, std::min(size - done, size_t{1} << 30));
    if (count < 0 && errno == EINTR) continue;
    const int reason = errno;
    if (count <= 0) ::munmap(start, size);
    if (count < 0) refuse(path, "cannot be read", reason);
    if (count == 0) {
      throw CheckpointError(
          fmt::format("{}: found {} bytes, expected {}: it changed while it was read", path.string(), done, size));
    }
    done += static_cast<size_t>(count);
  }
}

FileContent::~FileContent() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)), written_path_(path_) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path_, ignored);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) written_path_ += ".partial";
  descriptor_ = ::open(written_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) refuse(path_, "cannot be created", errno);
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
}

}  // namespace compression
