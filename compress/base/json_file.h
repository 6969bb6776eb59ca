#pragma once
// JSON and text files, read strictly and written with every step checked.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "compress/base/limits.h"

namespace compression {

/// Why a text is no JSON that is taken. what(): one line, where `byte` is given the parser's own.
class JsonProblem : public std::runtime_error {
 public:
  explicit JsonProblem(const std::string& message, std::optional<size_t> at = {})
      : std::runtime_error(message), byte(at) {}
  std::optional<size_t> byte;  // how many had been read when the text turned out to be ill-formed
};

/// What a key means that occurs twice in one object.
enum class DoubleKeys { refused, last_counts };

/// Parses JSON (RFC 8259), in time and memory linear in its size. Refuses more than limits::json_depth levels of
/// nesting and limits::json_values values. Json: nlohmann::json, or nlohmann::ordered_json. Throws JsonProblem.
template <class Json = nlohmann::json>
Json build_json(std::string_view text, DoubleKeys double_keys = DoubleKeys::refused);

/// build_json(), of files. `where` begins the messages: a file. Throws CheckpointError that names line and column.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// parse_json() on a file. Throws CheckpointError, also if there is no such file, it is not a regular one, or larger
/// than `most_bytes`; StorageError if the system refuses.
nlohmann::json read_json_file(const std::filesystem::path& path, uint64_t most_bytes = limits::settings_bytes);

/// Throws as read_json_file().
std::string read_text_file(const std::filesystem::path& path, uint64_t most_bytes = limits::settings_bytes);

/// Writes and syncs; the file is replaced whole. Throws StorageError that names the path and the reason.
void write_text_file(const std::filesystem::path& path, std::string_view text);

/// A value as messages show it: one line of ASCII, at most 80 characters; strings with their quotes, large values by
/// size.
std::string excerpt(const nlohmann::json& value);

}  // namespace compression
