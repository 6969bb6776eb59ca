#include "compress/serve/body.h"

#include <array>
#include <charconv>
#include <system_error>

#include "compress/base/json_file.h"  // build_json, JsonProblem, excerpt

namespace compression::serve {
namespace {

std::vector<int64_t> read_ids(const json& value, const std::string& key) {
  std::vector<int64_t> ids;
  read_value(value, key, ids);
  if (ids.empty()) refuse_empty(key);
  return ids;
}

json list_schema(json items) {
  return {{"type", "array"}, {"minItems", 1}, {"items", std::move(items)}};
}

}  // namespace

void refuse_value(const std::string& key, const json& found, std::string_view expected) {
  throw RequestError(
      422, ErrorType::validation,
      (key.empty() ? "the body" : key) + ": found " + excerpt(found) + ", expected " + std::string(expected));
}

void refuse_empty(const std::string& key) {
  throw RequestError(400, ErrorType::empty, key + ": found an empty list, expected at least one entry");
}

json parse_body(std::string_view body) {
  try {
    return build_json(body, DoubleKeys::last_counts);
  } catch (const JsonProblem& problem) {
    const std::string_view all = problem.what(), sign = "syntax error";
    const auto begin = all.find(sign);
    const auto reason = begin == all.npos ? all : all.substr(begin, all.find(" - ", begin) - begin);
    throw RequestError(
        400, ErrorType::validation,
        "the body: " + (problem.byte ? "byte " + std::to_string(*problem.byte) + ": not JSON: " : std::string()) +
            std::string(reason));
  }
}

void read(const json& value, const std::string& key, Inputs& to) {
  constexpr auto expected = "a string, a list of strings, token ids, or a list of lists of token ids";
  if (value.is_string()) {
    to.items.emplace_back(value.get<std::string>());
    return;
  }
  if (!value.is_array()) refuse_value(key, value, expected);
  if (value.empty()) refuse_empty(key);
  if (value.front().is_number()) {
    to.items.emplace_back(read_ids(value, key));
    return;
  }
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i].is_string()) {
      to.items.emplace_back(value[i].get<std::string>());
    } else if (value[i].is_array()) {
      to.items.emplace_back(read_ids(value[i], join_key(key, i)));
    } else {
      refuse_value(join_key(key, i), value[i], "a string or a list of token ids");
    }
  }
}

json schema_of(const Inputs*) {
  const json text{{"type", "string"}}, id{{"type", "integer"}, {"minimum", 0}};
  return {{"anyOf", {text, list_schema(text), list_schema(id), list_schema(list_schema(id))}}};
}

void read(const json& value, const std::string& key, PairInputs& to) {
  const auto read_pair = [&](const json& one, const std::string& where) {
    std::vector<std::string> texts;
    if (!one.is_array()) refuse_value(where, one, "a list of one or two strings");
    read_value(one, where, texts);
    if (texts.empty() || texts.size() > 2) refuse_value(where, one, "a list of one or two strings");
    TextInput input{.text = std::move(texts.front())};
    if (texts.size() == 2) input.pair = std::move(texts.back());
    to.items.push_back(std::move(input));
  };
  if (value.is_string()) {
    to.items.push_back({.text = value.get<std::string>()});
    return;
  }
  if (!value.is_array())
    refuse_value(key, value, "a string, a pair of strings, or a list of lists of one or two strings");
  if (value.empty()) refuse_empty(key);
  to.is_batch = value.front().is_array();
  if (!to.is_batch) return read_pair(value, key);
  for (size_t i = 0; i < value.size(); ++i) read_pair(value[i], join_key(key, i));
}

json schema_of(const PairInputs*) {
  const json text{{"type", "string"}};
  auto pair = list_schema(text);
  pair["maxItems"] = 2;
  return {{"anyOf", {text, pair, list_schema(pair)}}};
}

void read(const json& value, const std::string& key, TextInputs& to) {
  to.is_batch = value.is_array();
  if (value.is_string()) {
    to.items.push_back(value.get<std::string>());
    return;
  }
  if (!to.is_batch) refuse_value(key, value, "a string or a list of strings");
  if (value.empty()) refuse_empty(key);
  read_value(value, key, to.items);
}

json schema_of(const TextInputs*) {
  const json text{{"type", "string"}};
  return {{"anyOf", {text, list_schema(text)}}};
}

void read(const json& value, const std::string& key, Count& to) {
  read_value(value, key, to.value);
  if (to.value < 1) refuse_value(key, value, "a whole number of at least 1");
}

json schema_of(const Count*) {
  return {{"type", "integer"}, {"format", "int64"}, {"minimum", 1}};
}

void append_numbers(std::string& text, std::span<const float> numbers) {
  std::array<char, 32> digits{};
  text += '[';
  for (const auto number : numbers) {
    text.append(digits.data(), std::to_chars(digits.begin(), digits.end(), number).ptr);
    text += ',';
  }
  if (numbers.empty()) {
    text += ']';
  } else {
    text.back() = ']';
  }
}

double shortest(float number) {
  std::array<char, 32> digits{};
  double value = 0.0;
  std::from_chars(digits.data(), std::to_chars(digits.begin(), digits.end(), number).ptr, value);
  return value;
}

}  // namespace compression::serve
