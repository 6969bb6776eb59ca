#pragma once
// A number of bytes, written 30MB (10^6) or 30MiB (2^20).

#include <cstdint>
#include <string>
#include <string_view>

namespace compression {

struct ByteSize {
  static constexpr std::string_view type_name = "size, such as 30MB";
  int64_t bytes = 0;
};

/// Reads "30MB", "1.5 GiB", "500kB" or "1200" (bytes). Throws ConfigError.
ByteSize parse_byte_size(const std::string& text);

/// The largest unit that says the size in whole numbers.
std::string to_text(ByteSize size);
void from_text(const std::string& text, ByteSize& size);

}  // namespace compression
