#include <fmt/format.h>

#include "compress/base/limits.h"  // contexts_growth
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

/// How much the copies of contexts add up to, of which each question has one.
class ContextSum {
 public:
  ContextSum(const Place& whole, size_t file_bytes)
      : whole_(whole), most_(file_bytes * limits::contexts_growth + limits::contexts_extra) {}

  void add(const std::string& context) {
    sum_ += context.size();
    if (sum_ <= most_) return;
    whole_.fail(fmt::format(
        "contexts of more than {} bytes, counted as often as there are questions on them, expected less", most_));
  }

 private:
  const Place& whole_;
  uint64_t most_, sum_ = 0;
};

}  // namespace

Dataset read_squad(const FileConfig& file, std::string_view text, bool labelled) {
  Dataset data;
  data.path = file.path;
  const Place whole{file.path};
  const Json json = parse_json(text, whole);
  ContextSum sum(whole, text.size());
  for (const auto& article : list(json, "data", whole)) {
    for (const auto& paragraph : list(article, "paragraphs", whole)) {
      const auto context = text_field(paragraph, "context", whole);
      for (const auto& question : list(paragraph, "qas", whole)) {
        const Place place{file.path, 0, fmt::format("question {}", in_quotes(text_field(question, "id", whole)))};
        sum.add(context);
        data.ids.push_back(text_field(question, "id", whole));
        data.inputs.push_back({text_field(question, "question", place), context});
        data.answers.emplace_back();
        if (labelled || question.contains("answers")) {
          data.answers.back() = answers_field(question, "answers", context, place);
        }
        const auto impossible = question.find("is_impossible");
        const bool told = labelled && impossible != question.end() && impossible->is_boolean();
        if (told && *impossible == true && !data.answers.back().empty()) {
          place.fail("answers, and is_impossible: true, expected one of the two");
        }
        if (told && *impossible == false && data.answers.back().empty()) {
          place.fail("no answers, and is_impossible: false, expected answers");
        }
        data.lines.push_back(0);
      }
    }
  }
  if (data.inputs.empty()) fail(file.path, "no questions, expected data / paragraphs / qas");
  return data;
}

}  // namespace compression::datasets
