#include "datasets/json_fields.h"

#include <fmt/format.h>

#include "compress/base/json_file.h"  // build_json
#include "datasets/text_file.h"       // fail, in_quotes, listed, shown

namespace compression::datasets {
namespace {

/// The parser's message is "[json.exception...] parse error at line 1, column 12: WHAT; last read: ..."
std::string what_is_wrong(std::string_view text) {
  text = text.substr(0, text.find("; last read: "));
  const size_t what = text.find(": ");
  return std::string(what == std::string_view::npos ? text : text.substr(what + 2));
}

/// Where the code points of a text are: each 256th is known, so that many answers are found in one pass.
class CodePoints {
 public:
  explicit CodePoints(std::string_view text) : text_(text) {
    size_t count = 0;
    for (size_t at = 0; at < text.size(); at = next(at)) {
      if (count++ % step == 0) known_.push_back(at);
    }
  }

  /// The byte where code point `index` begins; npos beyond the end.
  size_t byte_of(int64_t index) const {
    if (index < 0 || static_cast<size_t>(index) / step > known_.size()) return std::string_view::npos;
    const auto block = static_cast<size_t>(index) / step;
    if (block == known_.size()) return index % step == 0 ? text_.size() : std::string_view::npos;
    size_t at = known_[block];
    for (auto left = index % step; left > 0; --left) {
      if (at == text_.size()) return std::string_view::npos;
      at = next(at);
    }
    return at;
  }

 private:
  static constexpr int64_t step = 256;

  size_t next(size_t at) const {
    do ++at;
    while (at < text_.size() && (static_cast<uint8_t>(text_[at]) & 0xC0) == 0x80);
    return at;
  }

  std::string_view text_;
  std::vector<size_t> known_;
};

Answer answer_at(const Json& text, const Json& start, const std::string& context, const CodePoints& places,
                 const Place& place) {
  if (!text.is_string()) place.fail(fmt::format("an answer's text is {}, expected a string", value_shown(text)));
  if (!start.is_number_integer() || start < 0) {
    place.fail(fmt::format("an answer_start is {}, expected a number from 0", value_shown(start)));
  }
  Answer answer{text.get<std::string>()};
  if (answer.text.empty()) place.fail("an answer's text is empty, expected a part of the context");
  const auto begin = places.byte_of(start.get<int64_t>());
  if (begin == std::string_view::npos || context.compare(begin, answer.text.size(), answer.text) != 0) {
    const auto found = begin >= context.size() ? "its end" : in_quotes(context.substr(begin, answer.text.size()));
    place.fail(fmt::format("at answer_start {} the context has {}, expected the answer {}", start.get<int64_t>(), found,
                           in_quotes(answer.text)));
  }
  answer.begin = static_cast<int64_t>(begin);
  return answer;
}

}  // namespace

void Place::fail(const std::string& message) const {
  if (line > 0) datasets::fail(path, line, message);
  datasets::fail(path, object.empty() ? message : object + ": " + message);
}

Json parse_json(std::string_view text, const Place& place) {
  try {
    return build_json<Json>(text, DoubleKeys::last_counts);
  } catch (const JsonProblem& problem) {
    if (!problem.byte) place.fail(problem.what());
    place.fail(fmt::format("ill-formed JSON at column {}: {}", *problem.byte, what_is_wrong(problem.what())));
  }
}

/// dump() recurses, so that what may be nested deeply is only named.
std::string value_shown(const Json& value) {
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return shown(value.dump());
}

const Json& field(const Json& object, const std::string& name, const Place& place) {
  if (!object.is_object()) place.fail(fmt::format("{}, expected a JSON object", value_shown(object)));
  const auto found = object.find(name);
  if (found != object.end()) return *found;
  if (object.empty()) place.fail(fmt::format("no field {}, the object is empty", in_quotes(name)));
  std::vector<std::string> names;
  for (const auto& item : object.items()) names.push_back(item.key());
  place.fail(fmt::format("no field {}, the fields are {}", in_quotes(name), listed(names)));
}

std::string text_field(const Json& object, const std::string& name, const Place& place) {
  const auto& value = field(object, name, place);
  if (!value.is_string()) {
    place.fail(fmt::format("field {} is {}, expected a string", in_quotes(name), value_shown(value)));
  }
  return value.get<std::string>();
}

std::vector<std::string> list_field(const Json& object, const std::string& name, bool integers, const Place& place) {
  const auto* expected = integers ? "a list of strings or integers" : "a list of strings";
  const auto& value = field(object, name, place);
  if (!value.is_array()) {
    place.fail(fmt::format("field {} is {}, expected {}", in_quotes(name), value_shown(value), expected));
  }
  std::vector<std::string> list;
  for (const auto& item : value) {
    if (integers && item.is_number_integer()) {
      list.push_back(item.dump());
    } else if (item.is_string()) {
      list.push_back(item.get<std::string>());
    } else {
      place.fail(fmt::format("field {} holds {}, expected {}", in_quotes(name), value_shown(item), expected));
    }
  }
  return list;
}

std::vector<Answer> answers_field(const Json& object, const std::string& name, const std::string& context,
                                  const Place& place) {
  const auto& value = field(object, name, place);
  const CodePoints places(context);
  std::vector<Answer> answers;
  if (value.is_object()) {
    const auto &texts = field(value, "text", place), &starts = field(value, "answer_start", place);
    if (!texts.is_array() || !starts.is_array() || texts.size() != starts.size()) {
      place.fail(fmt::format("field {} has {} for text and {} for answer_start, expected two lists of one length",
                             in_quotes(name), value_shown(texts), value_shown(starts)));
    }
    for (size_t i = 0; i < texts.size(); ++i) answers.push_back(answer_at(texts[i], starts[i], context, places, place));
  } else if (value.is_array()) {
    for (const auto& each : value) {
      answers.push_back(
          answer_at(field(each, "text", place), field(each, "answer_start", place), context, places, place));
    }
  } else {
    place.fail(fmt::format("field {} is {}, expected answers with text and answer_start", in_quotes(name),
                           value_shown(value)));
  }
  return answers;
}

}  // namespace compression::datasets
