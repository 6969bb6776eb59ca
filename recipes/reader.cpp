#include "recipes/reader.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "compress/base/number.h"  // number_of
#include "recipes/text.h"          // in_quotes, listed, look_alike

namespace compression::recipes {
namespace {

using Kind = Node::Kind;

/// The whole of `text` as a number, with an optional plus sign.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  return number_of<T>(text);
}

std::optional<double> parse_finite(std::string_view text) {
  const auto value = parse_number<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

bool looks_typed(const std::string& text) {
  return text == "true" || text == "false" || parse_finite(text);
}

std::string described(const Node& node) {
  switch (node.kind) {
    case Kind::list:
      return "a list";
    case Kind::map:
      return "a map";
    case Kind::scalar:
      break;
    default:
      return "nothing";
  }
  if (!looks_typed(node.text)) return in_quotes(node.text);
  return node.quoted ? in_quotes(node.text) + " in quotes" : node.text;
}

bool is_plain(const Node& node) {
  return node.kind == Kind::scalar && !node.quoted;
}

template <class T>
std::optional<T> parse_integer(const Node& node) {
  return is_plain(node) ? parse_number<T>(node.text) : std::nullopt;
}

}  // namespace

void Reader::wrong(const Node& node, const std::string& key, const std::string& expected) {
  issues_.add(node.origin, key, "found " + described(node) + ", expected " + expected);
}

void Reader::read_bool(const Node& node, const std::string& key, bool& value) {
  if (is_plain(node) && (node.text == "true" || node.text == "false")) {
    value = node.text == "true";
  } else {
    wrong(node, key, "true or false");
  }
}

void Reader::read_integer(const Node& node, const std::string& key, int64_t& value) {
  if (const auto found = parse_integer<int64_t>(node)) {
    value = *found;
  } else {
    wrong(node, key, "an integer");
  }
}

void Reader::read_integer(const Node& node, const std::string& key, uint64_t& value) {
  if (const auto found = parse_integer<uint64_t>(node)) {
    value = *found;
  } else {
    wrong(node, key, "an integer of at least 0");
  }
}

void Reader::read_number(const Node& node, const std::string& key, double& value) {
  const auto found = is_plain(node) ? parse_finite(node.text) : std::nullopt;
  if (found) {
    value = *found;
  } else {
    wrong(node, key, "a number");
  }
}

bool Reader::read_text(const Node& node, const std::string& key, std::string_view expected, std::string& value) {
  if (node.kind != Kind::scalar || node.text.empty()) {
    wrong(node, key, std::string(expected));
    return false;
  }
  value = node.text;
  return true;
}

/// As a shell reads it: ~ and what begins with ~/ are in the user's own folder, by HOME. Another user's is refused: a
/// path that is used as it is would make a folder called ~.
bool Reader::read_path(const Node& node, const std::string& key, std::string_view expected, std::string& value) {
  if (!read_text(node, key, expected, value)) return false;
  if (!value.starts_with('~')) return true;
  const char* home = std::getenv("HOME");
  const bool own = value == "~" || value.starts_with("~/");
  if (own && home != nullptr && *home != '\0') {
    value.replace(0, 1, home);
    return true;
  }
  wrong(
      node, key,
      own ? "a path without ~, since HOME is not set" : "a path that begins with ~/, or ./~ for a folder of that name");
  return false;
}

std::optional<std::string_view> Reader::read_name(const Node& node, const std::string& key,
                                                  const std::vector<std::string_view>& names) {
  if (node.kind == Kind::scalar) {
    const auto found = std::find(names.begin(), names.end(), node.text);
    if (found != names.end()) return *found;
  }
  const std::string hint = node.kind == Kind::scalar && names.size() > 1 ? did_you_mean(node.text, names) : "";
  wrong(node, key, (names.size() == 1 ? "" : "one of ") + listed(names) + hint);
  return std::nullopt;
}

bool Reader::is_map(const Node& node, const std::string& key) {
  const bool holds = node.kind == Kind::map || node.kind == Kind::nothing;
  if (!holds) wrong(node, key, "a map of keys and values");
  return holds;
}

bool Reader::is_list(const Node& node, const std::string& key) {
  if (node.kind != Kind::list) wrong(node, key, "a list");
  return node.kind == Kind::list;
}

void Reader::check_keys(const Node& map, const std::string& key, const std::vector<std::string_view>& known,
                        const std::vector<std::string_view>& missing) {
  std::vector<std::string_view> misspelt;  // a key that is there in a wrong spelling is not told as missing too
  for (const Node& child : map.children) {
    if (std::find(known.begin(), known.end(), child.key) != known.end()) continue;
    issues_.add(child.origin, join_key(key, shown_key(child.key)),
                "unknown key" + did_you_mean(child.key, known) + "; known here: " + listed(known));
    if (const auto meant = look_alike(child.key, known)) misspelt.push_back(*meant);
  }
  for (std::string_view name : missing) {
    if (std::find(misspelt.begin(), misspelt.end(), name) != misspelt.end()) {
      issues_.add_unread(join_key(key, name));
    } else {
      const Node* without_value = map.find(name);
      issues_.add(without_value ? without_value->origin : map.origin, join_key(key, name), "missing, but required");
    }
  }
}

}  // namespace compression::recipes
