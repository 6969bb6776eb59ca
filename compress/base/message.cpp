#include "compress/base/message.h"

#include <fmt/format.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

namespace compression {
namespace {

constexpr std::string_view left_out = "...";

bool obeyed_by_terminals(UChar32 c) {
  const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
  const bool separator = c == 0x2028 || c == 0x2029;
  const bool direction =
      c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
  return control || separator || direction;
}

std::string escaped(UChar32 c) {
  switch (c) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return c < 0x80 ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c))
                      : fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  }
}

bool continues_character(char byte) {
  return (byte & 0xC0) == 0x80;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t next = 0; next < text.size();) {
    const size_t begin = next;
    UChar32 c = 0;
    U8_NEXT(bytes, next, text.size(), c);  // NOLINT(bugprone-inc-dec-in-conditions): ICU's macro
    if (c < 0) {
      for (size_t i = begin; i < next; ++i) shown += fmt::format("\\x{:02x}", bytes[i]);
    } else if (obeyed_by_terminals(c)) {
      shown += escaped(c);
    } else {
      shown += text.substr(begin, next - begin);
    }
  }
  return shown;
}

std::string one_line(std::string_view text, size_t longest) {
  auto shown = printable(text.substr(0, 8 * longest));  // of a longer one the end is put there below
  if (text.size() > 8 * longest) shown += printable(text.substr(text.size() - longest));
  if (shown.size() <= longest) return shown;
  size_t first = longest * 2 / 3, last = shown.size() - (longest - first - left_out.size());
  while (first > 0 && continues_character(shown[first])) --first;
  while (last < shown.size() && continues_character(shown[last])) ++last;
  return shown.substr(0, first).append(left_out).append(shown, last);
}

std::string message_lines(std::string_view text) {
  std::string lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (begin > 0) lines += '\n';
    lines += one_line(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace compression
