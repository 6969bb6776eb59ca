#pragma once
// Reads any config struct out of a Node, by the struct's list of fields.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/base/fields.h"  // Config
#include "recipes/node.h"          // Node, Issues
#include "recipes/text.h"          // shown_key

namespace compression::recipes {

/// Goals: every problem of the text is told, at its line, and reading goes on after it. A key without a value is as
/// good as no key, or as an empty map where a map of required keys belongs. What could not be read keeps its default.
class Reader {
 public:
  explicit Reader(Issues& issues) : issues_(issues) {}

  /// `key`: the path of `node`, for messages.
  template <class T>
  void read(const Node& node, const std::string& key, T& value);

  void wrong(const Node& node, const std::string& key, const std::string& expected);

 private:
  template <Config T>
  void read_fields(const Node& node, const std::string& key, T& config);
  template <NamedEnum E>
  void read_enum(const Node& node, const std::string& key, E& value);
  template <TextValue T>
  void read_text_value(const Node& node, const std::string& key, T& value);

  void read_bool(const Node& node, const std::string& key, bool& value);
  void read_integer(const Node& node, const std::string& key, int64_t& value);
  void read_integer(const Node& node, const std::string& key, uint64_t& value);
  void read_number(const Node& node, const std::string& key, double& value);
  bool read_path(const Node& node, const std::string& key, std::string_view expected, std::string& value);
  bool read_text(const Node& node, const std::string& key, std::string_view expected, std::string& value);
  std::optional<std::string_view> read_name(const Node& node, const std::string& key,
                                            const std::vector<std::string_view>& names);

  bool is_map(const Node& node, const std::string& key);
  bool is_list(const Node& node, const std::string& key);
  void check_keys(const Node& map, const std::string& key, const std::vector<std::string_view>& known,
                  const std::vector<std::string_view>& missing);

  Issues& issues_;
};

template <class T>
void Reader::read(const Node& node, const std::string& key, T& value) {
  if (node.kind == Node::Kind::broken) return issues_.add_unread(key);
  if constexpr (OptionalValue<T>) {
    read(node, key, value.emplace());
  } else if constexpr (ListValue<T>) {
    if (!is_list(node, key)) return;
    value.clear();
    for (size_t i = 0; i < node.children.size(); ++i) read(node.children[i], join_key(key, i), value.emplace_back());
  } else if constexpr (MapValue<T>) {
    if (!is_map(node, key)) return;
    value.clear();
    for (const Node& child : node.children) read(child, join_key(key, shown_key(child.key)), value[child.key]);
  } else if constexpr (Config<T>) {
    read_fields(node, key, value);
  } else if constexpr (NamedEnum<T>) {
    read_enum(node, key, value);
  } else if constexpr (TextValue<T>) {
    read_text_value(node, key, value);
  } else if constexpr (std::same_as<T, bool>) {
    read_bool(node, key, value);
  } else if constexpr (std::integral<T>) {
    read_integer(node, key, value);
  } else if constexpr (std::same_as<T, double>) {
    read_number(node, key, value);
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    if (std::string text; read_path(node, key, "a path", text)) value = std::move(text);
  } else {
    static_assert(std::same_as<T, std::string>, "a field of a type that fields.h does not list");
    if (std::string text; read_text(node, key, "a text", text)) value = std::move(text);
  }
}

template <Config T>
void Reader::read_fields(const Node& node, const std::string& key, T& config) {
  if (!is_map(node, key)) return;
  std::vector<std::string_view> known, missing;
  T::fields(config, [&](std::string_view name, auto& field, std::string_view, Presence presence = Presence::optional) {
    known.push_back(name);
    const Node* found = node.find(name);
    constexpr bool may_be_empty = Config<std::remove_reference_t<decltype(field)>>;
    if (found && (may_be_empty || found->kind != Node::Kind::nothing)) {
      read(*found, join_key(key, name), field);
    } else if (presence == Presence::required) {
      missing.push_back(name);
    }
  });
  check_keys(node, key, known, missing);
}

template <NamedEnum E>
void Reader::read_enum(const Node& node, const std::string& key, E& value) {
  std::vector<std::string_view> names;
  for (const auto& [candidate, name] : enum_names(E{})) names.push_back(name);
  const auto found = read_name(node, key, names);
  for (const auto& [candidate, name] : enum_names(E{})) {
    if (found == name) value = candidate;
  }
}

template <TextValue T>
void Reader::read_text_value(const Node& node, const std::string& key, T& value) {
  std::string text;
  constexpr bool may_be_path = std::same_as<T, Reference>;
  if (!(may_be_path ? read_path(node, key, T::type_name, text) : read_text(node, key, T::type_name, text))) return;
  try {
    from_text(text, value);
  } catch (const ConfigError& error) {
    issues_.add(node.origin, key, error.what());
  }
}

}  // namespace compression::recipes
