#pragma once
// JSON and text files, read strictly and written with every step checked.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace compression {

/// Parses JSON (RFC 8259). Refuses a key that occurs twice in one object, and more than 100 levels of nesting.
/// `where` begins the messages: a file. Throws CheckpointError that names line and column.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// parse_json() on a file. Throws CheckpointError, also if there is no such file; StorageError if the system refuses.
nlohmann::json read_json_file(const std::filesystem::path& path);

/// Throws CheckpointError if there is no such file; StorageError if the system refuses.
std::string read_text_file(const std::filesystem::path& path);

/// Writes and syncs; the file is replaced whole. Throws StorageError that names the path and the reason.
void write_text_file(const std::filesystem::path& path, std::string_view text);

/// A value as messages show it: one line of ASCII, at most 80 characters; strings with their quotes, large values by
/// size.
std::string excerpt(const nlohmann::json& value);

}  // namespace compression
