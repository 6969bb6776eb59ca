#include "compress/tokenizer/json_node.h"

#include "compress/base/json_file.h"  // read_json_file, read_text_file

namespace compression {

using nlohmann::json;
namespace fs = std::filesystem;

std::string in_quotes(std::string_view text) {
  return json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

bool is_present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string read_tokenizer_file(const fs::path& path) {
  return read_text_file(path, limits::tokenizer_bytes);
}

json read_strict_json(const fs::path& path) {
  return read_json_file(path, limits::tokenizer_bytes);
}

}  // namespace compression
