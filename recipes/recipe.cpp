#include "recipes/recipe.h"

#include <charconv>
#include <cmath>

namespace compression::recipes {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};
// From large to small; of equal units the first is written.
constexpr std::array<Unit, 9> kUnits = {{{"GiB", int64_t{1} << 30},
                                         {"GB", 1000000000},
                                         {"MiB", int64_t{1} << 20},
                                         {"MB", 1000000},
                                         {"KiB", 1024},
                                         {"kB", 1000},
                                         {"KB", 1000},
                                         {"B", 1},
                                         {"", 1}}};

}  // namespace

std::string_view stage_kind(const StageConfig& config) {
  return std::visit([](const auto& held) { return std::remove_cvref_t<decltype(held)>::kind; }, config);
}

std::vector<Reference> references(const StageEntry& stage) {
  std::vector<Reference> result;
  for_each_value(stage, "", [&]<class T>(const std::string&, const T& value) {
    if constexpr (std::same_as<T, Reference>) result.push_back(value);
  });
  return result;
}

ByteSize parse_byte_size(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  std::string_view unit(rest, static_cast<size_t>(end - rest));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  for (const Unit& known : kUnits) {
    if (error != std::errc{} || unit != known.name) continue;
    const double bytes = number * static_cast<double>(known.bytes);
    if (bytes >= 0 && bytes < 9e18) return {static_cast<int64_t>(std::llround(bytes))};
  }
  throw ConfigError("found \"" + text + "\", expected a size such as 30MB (10^6 bytes) or 30MiB (2^20)");
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

}  // namespace compression::recipes
