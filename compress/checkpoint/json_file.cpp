#include "compress/checkpoint/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "compress/checkpoint/file.h"  // FileContent, FileWriter
#include "compress/workflow/error.h"   // CheckpointError

namespace compression {
namespace {

using nlohmann::json;

/// What json::parse does not refuse by itself: keys that occur twice, and depths that recursion cannot bear.
class StrictnessCheck {
 public:
  explicit StrictnessCheck(const std::string& where) : where_(where) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    if (depth > 100) throw CheckpointError(where_ + ": found JSON nested deeper than 100 levels");
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw CheckpointError(fmt::format("{}: the key {} occurs twice", where_, excerpt(parsed)));
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

/// "syntax error while parsing value", out of the library's longer text.
std::string reason_of(const json::parse_error& error) {
  const std::string_view text = error.what();
  const auto begin = text.find("syntax error");
  if (begin == std::string_view::npos) return "syntax error";
  return std::string(text.substr(begin, text.find(" - ", begin) - begin));
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  try {
    return json::parse(
        text, [check = std::make_shared<StrictnessCheck>(where)](
                  int depth, json::parse_event_t event, const json& parsed) { return (*check)(depth, event, parsed); });
  } catch (const json::parse_error& error) {
    const auto before = text.substr(0, error.byte > 0 ? std::min(error.byte - 1, text.size()) : 0);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const auto column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    throw CheckpointError(fmt::format("{}: line {}, column {}: not JSON: {}", where, line, column, reason_of(error)));
  } catch (const json::out_of_range&) {
    throw CheckpointError(where + ": not JSON: found a number that is too large");
  }
}

std::string read_text_file(const std::filesystem::path& path) {
  const FileContent file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

nlohmann::json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  FileWriter file(path);
  file.write(text.data(), text.size());
  file.finish();
}

std::string excerpt(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  const bool is_long = value.size() > 8;
  const auto is_nested = [](const json& element) { return element.is_structured(); };
  if (value.is_array() && (is_long || std::ranges::any_of(value, is_nested))) {
    return fmt::format("an array of {}", value.size());
  }
  auto text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace compression
