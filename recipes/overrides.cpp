#include "recipes/overrides.h"

#include "compress/base/error.h"   // ConfigError
#include "compress/base/fields.h"  // join_key
#include "recipes/text.h"          // in_quotes, listed, did_you_mean
#include "recipes/yaml_reader.h"   // parse_set_value

namespace compression::recipes {
namespace {

using Kind = Node::Kind;

Node& entry_at(Node& list, size_t index, const std::string& key) {
  if (list.kind != Kind::list) throw ConfigError(key + " is no list");
  if (index < list.children.size()) return list.children[index];
  throw ConfigError(key + " has " + std::to_string(list.children.size()) + " entries, counted from 0");
}

Node& entry_with_id(Node& list, const std::string& id, const std::string& key) {
  std::vector<std::string_view> ids;
  for (Node& entry : list.children) {
    const Node* found = entry.find("id");
    if (!found || found->kind != Kind::scalar) continue;
    if (found->text == id) return entry;
    ids.push_back(found->text);
  }
  throw ConfigError(key + " has no entry called " + in_quotes(id) +
                    (ids.empty() ? "" : "; it has " + listed(ids) + did_you_mean(id, ids)));
}

Node& entry_of(Node& parent, const std::string& name, const std::string& key, const Origin& origin) {
  if (parent.kind == Kind::list) return entry_with_id(parent, name, key);
  if (parent.kind == Kind::nothing) parent.kind = Kind::map;
  if (parent.kind != Kind::map) throw ConfigError(key + " is a single value and has no keys");
  if (Node* found = parent.find(name)) return *found;
  Node& added = parent.children.emplace_back();
  added.key = name;
  added.origin = origin;
  return added;
}

void apply(Node& root, const std::string& text) {
  const size_t equals = text.find('=');
  const auto steps = parse_key(std::string_view(text).substr(0, equals));
  if (equals == std::string::npos || !steps) throw ConfigError("expected key=value, such as data.max_length=64");
  const Node value = parse_set_value(text.substr(equals + 1), text);

  Node* node = &root;
  std::string key;
  for (const KeyStep& step : *steps) {
    if (const auto* name = std::get_if<std::string>(&step)) {
      node = &entry_of(*node, *name, key, value.origin);
      key = join_key(key, *name);
    } else {
      node = &entry_at(*node, std::get<size_t>(step), key);
      key = join_key(key, std::get<size_t>(step));
    }
  }
  std::string kept = std::move(node->key);
  *node = value;
  node->key = std::move(kept);
}

}  // namespace

void apply_overrides(Node& root, const std::vector<std::string>& overrides, Issues& issues) {
  for (const std::string& text : overrides) {
    try {
      apply(root, text);
    } catch (const ConfigError& error) {
      issues.add({.line = 0, .set = text}, "", error.what());
    }
  }
}

}  // namespace compression::recipes
