#include "compress/base/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compress/base/error.h"  // CheckpointError
#include "compress/base/file.h"   // FileContent, FileWriter

namespace compression {
namespace {

using nlohmann::json;

/// Builds a document from the parser's events. With json::parse and a callback, which could look at keys and depth too,
/// each object that ends goes through all that its parent holds: quadratic in the number of tensors of a header.
template <class Json>
class Builder {
 public:
  Builder(Json& document, DoubleKeys double_keys) : document_(document), double_keys_(double_keys) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(int64_t value) { return put(value); }
  bool number_unsigned(uint64_t value) { return put(value); }
  bool number_float(double value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(typename Json::binary_t&) { return false; }

  bool start_object(size_t) { return open(Json::value_t::object); }
  bool end_object() { return close(); }
  bool start_array(size_t) { return open(Json::value_t::array); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    const auto [member, is_new] = find_or_add(name);
    if (!is_new && double_keys_ == DoubleKeys::refused) {
      refuse("the key " + excerpt(nlohmann::json(name)) + " occurs twice");
    }
    member_ = member;
    return true;
  }

  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception& error) {
    if (dynamic_cast<const nlohmann::json::out_of_range*>(&error) != nullptr)
      refuse("not JSON: found a number that is too large");
    throw JsonProblem(error.what(), byte);
  }

 private:
  [[noreturn]] static void refuse(const std::string& message) { throw JsonProblem(message); }

  /// The member of the innermost object, and whether it is new.
  std::pair<Json*, bool> find_or_add(const std::string& name) {
    auto& object = open_.back()->template get_ref<typename Json::object_t&>();
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {  // whose own search goes through all of them
      const auto [place, is_new] = places_.back().emplace(name, object.size());
      if (is_new) object.emplace_back(name, nullptr);
      return {&object.begin()[static_cast<std::ptrdiff_t>(place->second)].second, is_new};
    } else {
      const auto [member, is_new] = object.emplace(name, nullptr);
      return {&member->second, is_new};
    }
  }

  /// Puts a value where the next one belongs; where it is then.
  template <class Value>
  Json* place(Value&& value) {
    if (++values_ > limits::json_values) {
      refuse("found JSON of more than " + std::to_string(limits::json_values) + " values");
    }
    if (open_.empty()) {
      document_ = Json(std::forward<Value>(value));
      return &document_;
    }
    if (open_.back()->is_array())
      return &open_.back()->template get_ref<typename Json::array_t&>().emplace_back(std::forward<Value>(value));
    *member_ = Json(std::forward<Value>(value));
    return member_;
  }

  template <class Value>
  bool put(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }

  bool open(typename Json::value_t type) {
    if (open_.size() >= limits::json_depth) {
      refuse("found JSON nested deeper than " + std::to_string(limits::json_depth) + " levels");
    }
    open_.push_back(place(type));
    places_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    places_.pop_back();
    return true;
  }

  Json& document_;
  const DoubleKeys double_keys_;
  size_t values_ = 0;
  std::vector<Json*> open_;  // arrays and objects whose end is to come; the others stay where they are until then
  std::vector<std::unordered_map<std::string, size_t>> places_;  // of the members of an ordered object that is open
  Json* member_ = nullptr;                                       // of the innermost object: what its last key names
};

/// "syntax error while parsing value", out of the library's longer text.
std::string reason_of(std::string_view text) {
  const auto begin = text.find("syntax error");
  if (begin == std::string_view::npos) return "syntax error";
  return std::string(text.substr(begin, text.find(" - ", begin) - begin));
}

}  // namespace

template <class Json>
Json build_json(std::string_view text, DoubleKeys double_keys) {
  Json document;
  Builder<Json> builder(document, double_keys);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return document;
}

template nlohmann::json build_json(std::string_view, DoubleKeys);
template nlohmann::ordered_json build_json(std::string_view, DoubleKeys);

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  try {
    return build_json(text);
  } catch (const JsonProblem& problem) {
    if (!problem.byte) throw CheckpointError(where + ": " + problem.what());
    const auto before = text.substr(0, *problem.byte > 0 ? std::min(*problem.byte - 1, text.size()) : 0);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const auto column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    throw CheckpointError(
        fmt::format("{}: line {}, column {}: not JSON: {}", where, line, column, reason_of(problem.what())));
  }
}

std::string read_text_file(const std::filesystem::path& path, uint64_t most_bytes) {
  const FileContent file(InputFile(path), most_bytes);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

nlohmann::json read_json_file(const std::filesystem::path& path, uint64_t most_bytes) {
  return parse_json(read_text_file(path, most_bytes), path.string());
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
