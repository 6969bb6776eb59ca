#pragma once
// A data file's text, and the words of its errors.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace compression::datasets {

/// The file's text without its byte order mark. Throws DataError: not there, a folder, neither a regular file nor a
/// pipe, empty, or not UTF-8.
std::string read_text(const std::filesystem::path& path);

/// Throws DataError("path:line: message").
[[noreturn]] void fail(const std::filesystem::path& path, int64_t line, const std::string& message);

/// Throws DataError("path: message").
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message);

/// `text` fit for a message of one line: control characters are escaped, a long text is cut.
std::string shown(std::string_view text);

/// The same in single quotes.
std::string in_quotes(std::string_view text);

/// "a, b, c", or the first ten "and 140 more".
std::string listed(std::span<const std::string> names);

/// Where the first byte is that does not belong to well-formed UTF-8; npos if all do.
size_t find_ill_formed_utf8(std::string_view text);

}  // namespace compression::datasets
