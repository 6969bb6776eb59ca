#include "input.h"

#include <fmt/format.h>

#include "compress/base/error.h"   // DataError
#include "compress/base/limits.h"  // text_bytes, piped_bytes

namespace compression::app {
bool next_line(std::istream& in, std::string& line) {
  line.clear();
  auto* bytes = in.rdbuf();
  constexpr auto end = std::istream::traits_type::eof();
  auto byte = bytes->sbumpc();
  if (byte == end) return false;
  for (; byte != end && byte != '\n'; byte = bytes->sbumpc()) {
    if (line.size() == limits::text_bytes) {
      throw DataError(fmt::format("standard input: a line of more than {} bytes, expected at most that", line.size()));
    }
    line.push_back(static_cast<char>(byte));
  }
  return true;
}

std::vector<std::string> read_lines(std::istream& in) {
  std::vector<std::string> lines;
  uint64_t bytes = 0;
  for (std::string line; next_line(in, line); lines.push_back(line)) {
    bytes += line.size() + 1;
    if (bytes > limits::piped_bytes) {
      throw DataError(fmt::format("standard input: more than {} bytes, expected at most that", limits::piped_bytes));
    }
  }
  return lines;
}

}  // namespace compression::app
