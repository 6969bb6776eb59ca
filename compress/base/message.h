#pragma once
// Texts of other people in messages: on one line, without what a terminal would obey, and not too long. Every Error's
// message and every log line of the command goes through here.

#include <cstddef>
#include <string>
#include <string_view>

namespace compression {

inline constexpr size_t longest_line = 2000;  // bytes of a message's line

/// Control characters, separators of lines and paragraphs, and characters that turn the direction of writing become
/// \n, \x1b, \u202e; a byte that is not UTF-8 becomes \xe9. Of such a text it is the text itself.
std::string printable(std::string_view text);

/// printable(), and of what is longer than `longest` bytes the middle is left out: "a long na... here".
std::string one_line(std::string_view text, size_t longest = longest_line);

/// one_line() of each line.
std::string message_lines(std::string_view text);

/// JSON for others to read, on one line or indented: strings that are not UTF-8 (names of files, words of a text) have
/// U+FFFD in place of what is not.
template <class Json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace compression
