#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compress/base/limits.h"  // line_bytes
#include "datasets/json_fields.h"  // Json, Place
#include "datasets/kinds.h"        // find_kind
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail

namespace compression::datasets {
namespace {

void add_line(std::string_view text, const Place& place, const FileConfig& file, bool labelled, const ExampleKind& kind,
              Dataset& data) {
  const Json object = parse_json(text, place);
  if (!object.is_object()) place.fail(fmt::format("{}, expected a JSON object", value_shown(object)));
  kind.read(object, file, labelled, place, data);
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
  const auto& kind = find_kind(traits_of(task).labels);
  int64_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    if (line.size() > limits::line_bytes) {
      fail(file.path, number, fmt::format("{} bytes, expected at most {} a line", line.size(), limits::line_bytes));
    }
    const bool blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
    if (!blank) add_line(line, {file.path, number}, file, labelled, kind, data);
  }
  if (data.inputs.empty()) fail(file.path, "only empty lines, expected texts");
  return data;
}

}  // namespace compression::datasets
