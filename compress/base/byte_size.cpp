#include "compress/base/byte_size.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "compress/base/error.h"  // ConfigError

namespace compression {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};
// From large to small; of equal units the first is written.
constexpr std::array<Unit, 8> kUnits = {{{"GiB", int64_t{1} << 30},
                                         {"GB", 1000000000},
                                         {"MiB", int64_t{1} << 20},
                                         {"MB", 1000000},
                                         {"KiB", 1024},
                                         {"kB", 1000},
                                         {"KB", 1000},
                                         {"B", 1}}};

}  // namespace

ByteSize parse_byte_size(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  std::string_view unit(rest, static_cast<size_t>(end - rest));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  if (error == std::errc{} && unit.empty()) {
    throw ConfigError("found \"" + text + "\", expected a size with its unit, such as " + text +
                      "MB, or 30MiB (2^20 bytes)");
  }
  for (const Unit& known : kUnits) {
    if (error != std::errc{} || unit != known.name) continue;
    const double bytes = number * static_cast<double>(known.bytes);
    if (bytes >= 0 && bytes < 9e18) return {static_cast<int64_t>(std::llround(bytes))};
  }
  throw ConfigError("found \"" + text + "\", expected a size such as 30MB (10^6 bytes) or 30MiB (2^20)");
}

std::string shown_bytes(int64_t bytes, int decimals) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (bytes < 100'000) return fmt::format("{:.2f} kB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.{}f} MB", static_cast<double>(bytes) / 1e6, decimals);
}

std::string shown_count(int64_t count) {
  if (count < 1000) return fmt::format("{}", count);
  if (count < 100'000) return fmt::format("{:.2f} k", static_cast<double>(count) / 1e3);
  return fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
}

std::string to_text(ByteSize size) {
  for (const Unit& unit : kUnits) {
    if (size.bytes != 0 && size.bytes % unit.bytes == 0)
      return std::to_string(size.bytes / unit.bytes) + std::string(unit.name);
  }
  return std::to_string(size.bytes) + "B";
}

void from_text(const std::string& text, ByteSize& size) {
  size = parse_byte_size(text);
}

}  // namespace compression
