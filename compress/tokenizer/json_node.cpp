#include "compress/tokenizer/json_node.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <unordered_set>

namespace compression {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// Refuses what nlohmann's parser lets pass: a key given twice, and nesting that nobody means.
class StrictKeys {
 public:
  explicit StrictKeys(const fs::path& path) : path_(path) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    constexpr int kMaxDepth = 64;
    if (depth > kMaxDepth) {
      throw CheckpointError(path_.string() + ": found more than " + std::to_string(kMaxDepth) + " levels of nesting");
    }
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw CheckpointError(path_.string() + ": found the key " + in_quotes(key) + " twice, expected each key once");
      }
    }
    return true;
  }

 private:
  const fs::path& path_;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

std::string in_quotes(std::string_view text) {
  return json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

bool is_present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string read_tokenizer_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || fs::is_directory(path)) throw CheckpointError(path.string() + ": cannot be read");
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) throw CheckpointError(path.string() + ": cannot be read to its end");
  return content;
}

json read_strict_json(const fs::path& path) {
  const std::string content = read_tokenizer_file(path);
  StrictKeys strict(path);
  try {
    return json::parse(content, [&](int depth, json::parse_event_t event, const json& parsed) {
      return strict(depth, event, parsed);
    });
  } catch (const json::exception& error) {
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    throw CheckpointError(path.string() + ": found damaged JSON: " + message);
  }
}

}  // namespace compression
