#include "recipes/write.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "compress/base/config_json.h"  // config_json
#include "compress/base/message.h"      // printable, json_text
#include "recipes/text.h"               // is_plain_name

namespace compression::recipes {
namespace {

using Json = nlohmann::ordered_json;

bool needs_no_quotes(const std::string& text) {
  constexpr std::string_view special[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  std::string name = text;
  std::replace_if(name.begin(), name.end(), [](char c) { return c == '/' || c == '.'; }, '_');
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const bool begins_with_letter = !text.empty() && std::isalpha(static_cast<unsigned char>(text.front()));
  return begins_with_letter && is_plain_name(name) &&
         std::find(std::begin(special), std::end(special), lower) == std::end(special);
}

std::string text_of(const std::string& text) {
  std::string escaped;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) escaped += '$';
    escaped += text[i];
  }
  if (needs_no_quotes(escaped)) return escaped;
  return printable(json_text(Json(escaped)));  // JSON's quoted strings, and printable's escapes, are YAML's
}

bool fits_one_line(const Json& value) {
  return !value.is_structured() || value.empty() ||
         (value.is_array() && std::all_of(value.begin(), value.end(), fits_one_line));
}

void write_block(const Json& value, const std::string& indent, std::string& out);

/// What comes after "key:" or "-".
void write_value(const Json& value, const std::string& indent, std::string& out) {
  if (fits_one_line(value)) {
    out += " " + yaml_flow(value) + "\n";
  } else {
    out += '\n';
    write_block(value, indent + "  ", out);
  }
}

void write_block(const Json& value, const std::string& indent, std::string& out) {
  if (value.is_object()) {
    for (const auto& [key, entry] : value.items()) {
      out += indent + text_of(key) + ":";
      write_value(entry, indent, out);
    }
    return;
  }
  for (const Json& item : value) {
    if (fits_one_line(item)) {
      out += indent + "- " + yaml_flow(item) + "\n";
      continue;
    }
    std::string block;
    write_block(item, indent + "  ", block);
    block[indent.size()] = '-';  // in the place of the first key's indentation
    out += block;
  }
}

}  // namespace

nlohmann::json recipe_json(const Recipe& recipe) {
  return config_json(recipe);
}

std::string yaml_flow(const Json& value) {
  if (value.is_string()) return text_of(value.get<std::string>());
  if (!value.is_structured()) return value.dump();
  std::string items;
  for (const auto& [key, item] : value.items()) {
    items += (items.empty() ? "" : ", ") + (value.is_object() ? text_of(key) + ": " : "") + yaml_flow(item);
  }
  return value.is_object() ? "{" + items + "}" : "[" + items + "]";
}

std::string to_yaml(const Recipe& recipe) {
  std::string out;
  write_block(config_json<Json>(recipe), "", out);
  return out;
}

}  // namespace compression::recipes
