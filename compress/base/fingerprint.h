#pragma once
// Hashes that tell whether a stage's inputs are the same as before: XXH3, 128 bits, in hexadecimal. Not for security.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace compression {

/// The hash of bytes that come in pieces.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  void add(const void* data, size_t size);
  void add(std::string_view text) { add(text.data(), text.size()); }
  /// Of all that was added so far.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string fingerprint(std::string_view bytes);

/// Of a file's content. Throws StorageError if it can't be read.
std::string file_fingerprint(const std::filesystem::path& file);

}  // namespace compression
