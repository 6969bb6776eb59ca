#pragma once
// The JSON of requests: one list of fields a body (compress/base/fields.h), from which it is read, wrong types are
// told by their key, and its schema in the OpenAPI page is made. Null is as if an optional key were not there, and a
// list that is required has at least one entry. Keys that nothing here names are ignored, as Text Embeddings Inference
// does: clients of other servers send some of their own.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "compress/base/fields.h"          // Config, Presence
#include "compress/serve/http.h"           // RequestError
#include "compress/tokenizer/tokenizer.h"  // TextInput

namespace compression::serve {

using nlohmann::json;

/// 422: "inputs[1]: found 7, expected a string".
[[noreturn]] void refuse_value(const std::string& key, const json& found, std::string_view expected);

/// 400.
[[noreturn]] void refuse_empty(const std::string& key);

/// 400 where it is no JSON, nested too deeply, or no object.
json parse_body(std::string_view body);

/// Texts, or token ids: of one, or of several.
struct Inputs {
  std::vector<std::variant<std::string, std::vector<int64_t>>> items;
};
void read(const json& value, const std::string& key, Inputs& to);
json schema_of(const Inputs*);

/// A text, a pair of texts, or a list of lists of one or two: `is_batch`.
struct PairInputs {
  std::vector<TextInput> items;
  bool is_batch = false;
};
void read(const json& value, const std::string& key, PairInputs& to);
json schema_of(const PairInputs*);

/// A text, or a list of texts.
struct TextInputs {
  std::vector<std::string> items;
  bool is_batch = false;
};
void read(const json& value, const std::string& key, TextInputs& to);
json schema_of(const TextInputs*);

/// A whole number of at least 1.
struct Count {
  int64_t value = 1;
};
void read(const json& value, const std::string& key, Count& to);
json schema_of(const Count*);

/// A value of a type of its own.
template <class T>
concept FreeForm = requires(const json& value, const std::string& key, T& to, const T* none) {
  read(value, key, to);
  { schema_of(none) } -> std::same_as<json>;
};

template <class T>
void read_value(const json& value, const std::string& key, T& to) {
  if constexpr (std::same_as<T, json>) {
    to = value;
  } else if constexpr (FreeForm<T>) {
    read(value, key, to);
  } else if constexpr (std::same_as<T, bool>) {
    if (!value.is_boolean()) refuse_value(key, value, "true or false");
    to = value.get<bool>();
  } else if constexpr (std::same_as<T, int64_t>) {
    const bool fits = value.is_number_integer() &&
                      !(value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
    if (!fits) refuse_value(key, value, "a whole number");
    to = value.get<int64_t>();
  } else if constexpr (std::same_as<T, std::string>) {
    if (!value.is_string()) refuse_value(key, value, "a string");
    to = value.get<std::string>();
  } else if constexpr (NamedEnum<T>) {
    std::string expected;
    for (const auto& [candidate, name] : enum_names(T{})) {
      if (value.is_string() && value.get_ref<const std::string&>() == name) {
        to = candidate;
        return;
      }
      expected += std::string(expected.empty() ? "" : " or ") + '"' + std::string(name) + '"';
    }
    refuse_value(key, value, expected);
  } else if constexpr (OptionalValue<T>) {
    read_value(value, key, to.emplace());
  } else if constexpr (ListValue<T>) {
    if (!value.is_array()) refuse_value(key, value, "a list");
    for (size_t i = 0; i < value.size(); ++i) read_value(value[i], join_key(key, i), to.emplace_back());
  } else {
    static_assert(Config<T>);
    if (!value.is_object()) refuse_value(key, value, "an object");
    T::fields(to, [&](std::string_view name, auto& field, std::string_view, Presence presence = Presence::optional) {
      const auto found = value.find(std::string(name));
      const auto path = join_key(key, name);
      const bool is_optional = presence == Presence::optional;
      if (found == value.end() || (is_optional && found->is_null())) {
        if (is_optional) return;
        throw RequestError(422, ErrorType::validation, path + ": not there, expected it");
      }
      read_value(*found, path, field);
      if constexpr (ListValue<std::remove_cvref_t<decltype(field)>>) {
        if (!is_optional && field.empty()) refuse_empty(path);
      }
    });
  }
}

/// The schema of a value of the type, as OpenAPI 3.0 has them.
template <class T>
json schema() {
  if constexpr (std::same_as<T, json>) {
    return json::object();
  } else if constexpr (FreeForm<T>) {
    return schema_of(static_cast<const T*>(nullptr));
  } else if constexpr (std::same_as<T, bool>) {
    return {{"type", "boolean"}};
  } else if constexpr (std::same_as<T, int64_t>) {
    return {{"type", "integer"}, {"format", "int64"}};
  } else if constexpr (std::same_as<T, std::string>) {
    return {{"type", "string"}};
  } else if constexpr (NamedEnum<T>) {
    json names = json::array();
    for (const auto& [candidate, name] : enum_names(T{})) names.push_back(name);
    return {{"type", "string"}, {"enum", names}};
  } else if constexpr (OptionalValue<T>) {
    return schema<typename T::value_type>();
  } else if constexpr (ListValue<T>) {
    return {{"type", "array"}, {"items", schema<typename T::value_type>()}};
  } else {
    static_assert(Config<T>);
    json properties = json::object(), required = json::array();
    T defaults;
    T::fields(defaults,
              [&](std::string_view name, auto& field, std::string_view doc, Presence presence = Presence::optional) {
                using Field = std::remove_cvref_t<decltype(field)>;
                auto property = schema<Field>();
                property["description"] = doc;
                if constexpr (std::same_as<Field, bool>) property["default"] = field;
                if constexpr (NamedEnum<Field>) property["default"] = enum_name(field);
                if (presence == Presence::required) {
                  required.push_back(name);
                  if constexpr (ListValue<Field>) property["minItems"] = 1;
                } else {
                  property["nullable"] = true;
                  if (property.contains("enum")) property["enum"].push_back(nullptr);
                }
                properties[std::string(name)] = std::move(property);
              });
    json object{{"type", "object"}, {"properties", properties}};
    if (!required.empty()) object["required"] = required;
    return object;
  }
}

/// A body of the type. Throws RequestError 400 or 422.
template <class T>
T read_body(std::string_view body) {
  T result;
  read_value(parse_body(body), "", result);
  return result;
}

/// Appends [0.1,-2.5e-05,...]: of each number the fewest digits that are read as the same float.
void append_numbers(std::string& text, std::span<const float> numbers);

/// The number as JSON prints it with as few digits.
double shortest(float number);

}  // namespace compression::serve
