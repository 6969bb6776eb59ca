#pragma once
// Files that a run has read: whether they still hold what they held then.

#include <filesystem>
#include <map>
#include <string>

namespace compression {

/// A file of which size, time and place on the disk are as before is taken to be unchanged; else its content is hashed
/// again.
class InputFiles {
 public:
  /// Hashes it. Throws StorageError.
  void add(const std::filesystem::path& file);

  /// Throws DataError that names the first file whose content has changed, or which is not there any more.
  void check();

 private:
  struct Stamp {
    uintmax_t device = 0, inode = 0, bytes = 0;
    int64_t seconds = 0, nanoseconds = 0;
    bool operator==(const Stamp&) const = default;
  };
  struct Entry {
    Stamp stamp;
    std::string hash;
  };
  static Stamp stamp(const std::filesystem::path& file);

  std::map<std::filesystem::path, Entry> files_;
};

}  // namespace compression
