#include "recipes/load.h"

#include <algorithm>
#include <fstream>

#include "recipes/overrides.h"    // apply_overrides
#include "recipes/reader.h"       // Reader
#include "recipes/text.h"         // listed
#include "recipes/variables.h"    // resolve_variables
#include "recipes/yaml_reader.h"  // parse_yaml

namespace compression::recipes {
namespace {

constexpr std::streamsize kMaxBytes = 1 << 20;  // parse_yaml refuses less; this bounds what is read of a device

std::vector<std::string_view> stage_kinds() {
  std::vector<std::string_view> kinds;
  for_each_stage_type([&]<class T>(std::type_identity<T>) { kinds.push_back(T::kind); });
  return kinds;
}

StageConfig default_config(std::string_view kind) {
  StageConfig config;
  for_each_stage_type([&]<class T>(std::type_identity<T>) {
    if (T::kind == kind) config = T{};
  });
  return config;
}

std::string read_file(const std::filesystem::path& path) {
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    throw ConfigError(path.string() + ": is a folder, expected a recipe");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ConfigError(path.string() + ": can't be opened, expected a recipe");
  std::string text(static_cast<size_t>(kMaxBytes), '\0');
  file.read(text.data(), kMaxBytes);
  if (file.bad()) throw ConfigError(path.string() + ": can't be read");
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

/// A stage is a map with `id` and one key that says its kind.
template <>
void Reader::read(const Node& node, const std::string& key, StageEntry& stage) {
  if (node.kind == Node::Kind::broken) return issues_.add_unread(key);
  const std::vector<std::string_view> kinds = stage_kinds();
  std::vector<std::string_view> found, misspelt;
  for (const Node& child : node.children) {
    if (std::find(kinds.begin(), kinds.end(), child.key) != kinds.end()) found.push_back(child.key);
    if (child.key != "id" && look_alike(child.key, kinds)) misspelt.push_back(*look_alike(child.key, kinds));
  }
  if (node.kind == Node::Kind::map && found.size() == 1) {
    stage.config = default_config(found.front());
    return read_fields(node, key, stage);
  }
  if (!is_map(node, key)) return;

  if (const Node* id = node.find("id")) read(*id, join_key(key, "id"), stage.id);
  if (found.size() > 1) {
    issues_.add(node.origin, key, "found " + listed(found) + ", expected one of them: a stage does one thing");
  } else if (misspelt.empty()) {
    issues_.add(node.origin, key, "found no kind of stage, expected one of " + listed(kinds));
  }
  std::vector<std::string_view> known = {"id"};
  known.insert(known.end(), kinds.begin(), kinds.end());
  check_keys(node, key, known, node.find("id") ? std::vector<std::string_view>{} : std::vector<std::string_view>{"id"});
}

Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                    FileCheck files) {
  Issues issues;
  Node root = parse_yaml(text, name, issues);
  if (root.kind == Node::Kind::nothing) throw ConfigError(name + ": is empty, expected a recipe");
  if (root.kind != Node::Kind::map) {
    throw ConfigError(name + ":" + std::to_string(root.origin.line) +
                      ": expected a recipe, a map that begins with `version: 1`");
  }
  apply_overrides(root, overrides, issues);
  resolve_variables(root, issues);

  Recipe recipe;
  Reader(issues).read(root, "", recipe);

  Problems problems;
  validate(recipe, problems);
  if (files == FileCheck::on) validate_files(recipe, problems);
  const Issues unreadable =
      issues;  // what could not be read has a default in its place, and that is no problem of its own
  for (const auto& [key, message] : problems.list()) {
    if (!unreadable.concerns(key)) issues.add(locate(root, key), key, message);
  }
  issues.throw_if_any(name);
  return recipe;
}

Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides, FileCheck files) {
  return parse_recipe(read_file(path), path.string(), overrides, files);
}

}  // namespace compression::recipes
