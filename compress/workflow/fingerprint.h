#pragma once
// Hashes that tell whether a stage's inputs are the same as before: XXH3, 128 bits, in hexadecimal. Not for security.

#include <filesystem>
#include <string>
#include <string_view>

namespace compression {

std::string fingerprint(std::string_view bytes);

/// Of a file's content. Throws StorageError if it can't be read.
std::string file_fingerprint(const std::filesystem::path& file);

}  // namespace compression
