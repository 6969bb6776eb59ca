#include "datasets/text_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "compress/base/error.h"    // DataError
#include "compress/base/file.h"     // open_stream
#include "compress/base/limits.h"   // piped_bytes
#include "compress/base/message.h"  // printable

namespace compression::datasets {
namespace {

constexpr size_t kShownBytes = 60;
constexpr size_t kListedNames = 10;

bool is_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) == 0x80;
}

/// Bytes of the well-formed character that `text` begins with (Unicode, table 3-7); 0 if there is none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto follow = [&](size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      if ((byte(i) & 0xC0) != 0x80) return false;
    }
    return true;
  };
  const uint8_t first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follow(1, 2) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return !overlong && !surrogate && follow(1, 3) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_large = first == 0xF4 && second > 0x8F;
    return !overlong && !too_large && follow(1, 4) ? 4 : 0;
  }
  return 0;
}

bool eight_ascii(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return (word & 0x8080808080808080u) == 0;
}

/// Of a regular file, or of a pipe (a process substitution, or standard input). Of another file there is no telling how
/// long it is: /dev/zero has no end.
std::string read_bytes(const std::filesystem::path& path) {
  const auto file = open_stream(path);
  struct stat status {};
  if (!file || ::fstat(::fileno(file.get()), &status) != 0) {
    fail(path, fmt::format("cannot be read: {}", std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) fail(path, "no regular file, expected a file of texts");
  std::string bytes;
  if (S_ISREG(status.st_mode)) bytes.reserve(static_cast<size_t>(status.st_size) + 1);
  std::array<char, 1 << 16> block;
  for (size_t count; (count = std::fread(block.data(), 1, block.size(), file.get())) > 0;) {
    bytes.append(block.data(), count);
    if (S_ISFIFO(status.st_mode) && bytes.size() > limits::piped_bytes) {
      fail(path, fmt::format("more than {} bytes through a pipe, expected at most that", limits::piped_bytes));
    }
  }
  if (std::ferror(file.get())) fail(path, fmt::format("cannot be read: {}", std::strerror(errno)));
  return bytes;
}

}  // namespace

size_t find_ill_formed_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (at + 8 <= text.size() && eight_ascii(text.data() + at)) {
      at += 8;
      continue;
    }
    const size_t length = character_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string read_text(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) fail(path, "not there, expected a file of texts");
  if (std::filesystem::is_directory(path, error)) fail(path, "a folder, expected a file of texts");
  std::string text = read_bytes(path);
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) fail(path, "UTF-16, expected UTF-8");
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  if (text.empty()) fail(path, "empty, expected texts");
  if (const size_t at = find_ill_formed_utf8(text); at != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    fail(path, line, fmt::format("byte 0x{:02X} is not UTF-8, expected UTF-8", static_cast<uint8_t>(text[at])));
  }
  return text;
}

void fail(const std::filesystem::path& path, int64_t line, const std::string& message) {
  throw DataError(fmt::format("{}:{}: {}", path.string(), line, message));
}

void fail(const std::filesystem::path& path, const std::string& message) {
  throw DataError(fmt::format("{}: {}", path.string(), message));
}

std::string shown(std::string_view text) {
  const bool cut = text.size() > kShownBytes;
  if (cut) {
    size_t end = kShownBytes;
    while (end > 0 && is_continuation(text[end])) --end;
    text = text.substr(0, end);
  }
  return printable(text) + (cut ? "..." : "");
}

std::string in_quotes(std::string_view text) {
  return "'" + shown(text) + "'";
}

std::string listed(std::span<const std::string> names) {
  std::string result;
  for (const auto& name : names.first(std::min(names.size(), kListedNames))) {
    result += (result.empty() ? "" : ", ") + shown(name);
  }
  if (names.size() > kListedNames) result += fmt::format(" and {} more", names.size() - kListedNames);
  return result;
}

}  // namespace compression::datasets
