#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compress/base/limits.h"  // line_bytes
#include "datasets/json_fields.h"  // Json, Place
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes

namespace compression::datasets {
namespace {

bool is_missing(const Json& object, const std::string& name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null();
}

std::string read_label(const Json& object, const std::string& name, bool labelled, const Place& place) {
  if (is_missing(object, name) && !labelled) return "";
  const auto& value = field(object, name, place);
  if (value.is_number_integer()) return value.dump();
  if (!value.is_string()) {
    place.fail(fmt::format("field {} is {}, expected a string or an integer", in_quotes(name), value_shown(value)));
  }
  auto label = value.get<std::string>();
  if (labelled && label.empty()) place.fail("an empty label, expected a name or an integer");
  return label;
}

std::string read_score(const Json& object, const std::string& name, bool labelled, const Place& place) {
  if (is_missing(object, name) && !labelled) return "";
  const auto& value = field(object, name, place);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number()) {
    place.fail(fmt::format("field {} is {}, expected a number", in_quotes(name), value_shown(value)));
  }
  return value.dump();
}

void read_words(const Json& object, const FileConfig& file, bool labelled, const Place& place, Dataset& data) {
  auto words = list_field(object, *file.text, false, place);
  std::vector<std::string> tags;
  if (labelled || !is_missing(object, *file.label)) tags = list_field(object, *file.label, true, place);
  add_words(std::move(words), std::move(tags), labelled, place.line, data);
}

void add_line(std::string_view text, const Place& place, const FileConfig& file, bool labelled, TaskType task,
              Dataset& data) {
  const Json object = parse_json(text, place);
  if (!object.is_object()) place.fail(fmt::format("{}, expected a JSON object", value_shown(object)));
  if (task == TaskType::token_classification) return read_words(object, file, labelled, place, data);
  switch (task) {
    case TaskType::regression:
    case TaskType::embedding:
      data.labels.push_back(read_score(object, *file.label, labelled, place));
      break;
    case TaskType::multi_label:
      data.label_lists.emplace_back();
      if (labelled || !is_missing(object, *file.label)) {
        data.label_lists.back() = list_field(object, *file.label, true, place);
      }
      break;
    case TaskType::classification:
      data.labels.push_back(read_label(object, *file.label, labelled, place));
      break;
    default:
      break;
  }
  TextInput input{text_field(object, *file.text, place), std::nullopt};
  if (file.text_pair) input.pair = text_field(object, *file.text_pair, place);
  if (task == TaskType::question_answering) {
    data.answers.emplace_back();
    if (labelled || !is_missing(object, *file.label)) {
      data.answers.back() = answers_field(object, *file.label, *input.pair, place);
    }
  }
  data.inputs.push_back(std::move(input));
  data.lines.push_back(place.line);
}

}  // namespace

void add_words(std::vector<std::string> words, std::vector<std::string> tags, bool labelled, int64_t line,
               Dataset& data) {
  if (words.empty()) fail(data.path, line, "no words, expected one or more");
  if ((labelled || !tags.empty()) && words.size() != tags.size()) {
    fail(data.path, line, fmt::format("{} tags for {} words, expected a tag a word", tags.size(), words.size()));
  }
  data.inputs.push_back({fmt::format("{}", fmt::join(words, " ")), std::nullopt});
  data.words.push_back(std::move(words));
  data.label_lists.push_back(std::move(tags));
  data.lines.push_back(line);
}

Dataset read_jsonl(const FileConfig& file, std::string_view text, bool labelled, TaskType task) {
  Dataset data;
  data.path = file.path;
  int64_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    if (line.size() > limits::line_bytes) {
      fail(file.path, number, fmt::format("{} bytes, expected at most {} a line", line.size(), limits::line_bytes));
    }
    const bool blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
    if (!blank) add_line(line, {file.path, number}, file, labelled, task, data);
  }
  if (data.inputs.empty()) fail(file.path, "only empty lines, expected texts");
  return data;
}

}  // namespace compression::datasets
