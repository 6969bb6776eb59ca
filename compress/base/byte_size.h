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

/// Reads "30MB", "1.5 GiB", "500kB" or "1200B". Throws ConfigError, also where there is no unit.
ByteSize parse_byte_size(const std::string& text);

/// As reports show a size: "43.4 MB", "4.20 kB" of less than 100 kB, "512 B"; with so many decimals of MB.
std::string shown_bytes(int64_t bytes, int decimals = 1);

/// As reports show a number of parameters or multiply-adds: "22.7 M", "4.20 k" of less than 100,000, "512".
std::string shown_count(int64_t count);

/// The largest unit that says the size in whole numbers.
std::string to_text(ByteSize size);
void from_text(const std::string& text, ByteSize& size);

}  // namespace compression
