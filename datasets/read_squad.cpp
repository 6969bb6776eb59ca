#include <fmt/format.h>

#include "datasets/json_fields.h"  // Json, Place
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes

namespace compression::datasets {
namespace {

const Json& list(const Json& object, const std::string& name, const Place& place) {
  const auto& value = field(object, name, place);
  if (!value.is_array()) {
    place.fail(fmt::format("field {} is {}, expected an array", in_quotes(name), value_shown(value)));
  }
  return value;
}

}  // namespace

Dataset read_squad(const FileConfig& file, std::string_view text, bool labelled) {
  Dataset data;
  data.path = file.path;
  const Place whole{file.path};
  const Json json = parse_json(text, whole);
  for (const auto& article : list(json, "data", whole)) {
    for (const auto& paragraph : list(article, "paragraphs", whole)) {
      const auto context = text_field(paragraph, "context", whole);
      for (const auto& question : list(paragraph, "qas", whole)) {
        const Place place{file.path, 0, fmt::format("question {}", in_quotes(text_field(question, "id", whole)))};
        data.inputs.push_back({text_field(question, "question", place), context});
        data.answers.emplace_back();
        if (labelled || question.contains("answers")) {
          data.answers.back() = answers_field(question, "answers", context, place);
        }
        data.lines.push_back(0);
      }
    }
  }
  if (data.inputs.empty()) fail(file.path, "no questions, expected data / paragraphs / qas");
  return data;
}

}  // namespace compression::datasets
