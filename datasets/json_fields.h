#pragma once
// Fields of JSON objects in data files, with errors that say where.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"  // Answer

namespace compression::datasets {

using Json = nlohmann::ordered_json;

/// A place in a file, for errors: a line, or what an object is called where lines tell nothing.
struct Place {
  const std::filesystem::path& path;
  int64_t line = 0;
  std::string object = {};

  [[noreturn]] void fail(const std::string& message) const;
};

/// Of a key that occurs twice the last value counts. Throws DataError if the text is no JSON, or beyond build_json().
Json parse_json(std::string_view text, const Place& place);

/// A value on one line of a message; arrays and objects are only named.
std::string value_shown(const Json& value);

/// The field, which has to be there; `object` has to be an object.
const Json& field(const Json& object, const std::string& name, const Place& place);

std::string text_field(const Json& object, const std::string& name, const Place& place);

/// A list of strings, or of integers where `integers`, which are read as text.
std::vector<std::string> list_field(const Json& object, const std::string& name, bool integers, const Place& place);

/// SQuAD's [{"text", "answer_start"}, ...], or {"text": [...], "answer_start": [...]}; answer_start counts code points
/// of the context, and the context has the text there. None, where a question has no answer (SQuAD 2.0).
std::vector<Answer> answers_field(const Json& object, const std::string& name, const std::string& context,
                                  const Place& place);

}  // namespace compression::datasets
