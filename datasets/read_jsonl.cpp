#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes, listed, shown

namespace compression::datasets {
namespace {

using Json = nlohmann::ordered_json;

/// The parser's message is "[json.exception...] parse error at line 1, column 12: WHAT; last read: ..."
std::string what_is_wrong(const Json::parse_error& error) {
  std::string text = error.what();
  text = text.substr(0, text.find("; last read: "));
  const size_t what = text.find(": ");
  return what == std::string::npos ? text : text.substr(what + 2);
}

/// One line of the file, for errors.
struct Line {
  const std::filesystem::path& path;
  int64_t number;

  [[noreturn]] void fail(const std::string& message) const { datasets::fail(path, number, message); }
};

/// dump() recurses, so that what may be nested deeply is only named.
std::string value_shown(const Json& value) {
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return shown(value.dump());
}

Json parse_object(std::string_view text, const Line& line) {
  Json object;
  try {
    object = Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& error) {
    line.fail(fmt::format("ill-formed JSON at column {}: {}", error.byte, what_is_wrong(error)));
  } catch (const Json::out_of_range&) {
    line.fail("a JSON number that is too large for a double");
  }
  if (!object.is_object()) line.fail(fmt::format("{}, expected a JSON object", value_shown(object)));
  return object;
}

[[noreturn]] void fail_missing(const Json& object, const std::string& name, const Line& line) {
  if (object.empty()) line.fail(fmt::format("no field {}, the object is empty", in_quotes(name)));
  std::vector<std::string> names;
  for (const auto& item : object.items()) names.push_back(item.key());
  line.fail(fmt::format("no field {}, the fields are {}", in_quotes(name), listed(names)));
}

std::string take_text(Json& object, const std::string& name, const Line& line) {
  const auto field = object.find(name);
  if (field == object.end()) fail_missing(object, name, line);
  if (!field->is_string()) {
    line.fail(fmt::format("field {} is {}, expected a string", in_quotes(name), value_shown(*field)));
  }
  return std::move(field->get_ref<std::string&>());
}

std::string read_label(const Json& object, const std::string& name, bool labelled, const Line& line) {
  const auto field = object.find(name);
  const bool missing = field == object.end() || field->is_null();
  if (missing && !labelled) return "";
  if (field == object.end()) fail_missing(object, name, line);
  if (field->is_number_integer()) return field->dump();
  if (!field->is_string()) {
    line.fail(fmt::format("field {} is {}, expected a string or an integer", in_quotes(name), value_shown(*field)));
  }
  auto label = field->get<std::string>();
  if (labelled && label.empty()) line.fail("an empty label, expected a name or an integer");
  return label;
}

void add_line(std::string_view text, const Line& line, const FileConfig& file, bool labelled, Dataset& data) {
  Json object = parse_object(text, line);
  data.labels.push_back(read_label(object, file.label, labelled, line));
  TextInput input{take_text(object, file.text, line), std::nullopt};
  if (file.text_pair) input.pair = take_text(object, *file.text_pair, line);
  data.inputs.push_back(std::move(input));
  data.lines.push_back(line.number);
}

}  // namespace

Dataset read_jsonl(const FileConfig& file, std::string_view text, bool labelled) {
  Dataset data;
  data.path = file.path;
  int64_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    const bool blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
    if (!blank) add_line(line, {file.path, number}, file, labelled, data);
  }
  if (data.inputs.empty()) fail(file.path, "only empty lines, expected texts");
  return data;
}

}  // namespace compression::datasets
