#include "recipes/load.h"

#include <algorithm>
#include <memory>

#include "compress/base/file.h"     // open_stream
#include "compress/base/files.h"    // refused
#include "compress/base/limits.h"   // recipe_bytes
#include "compress/base/message.h"  // printable, one_line
#include "recipes/overrides.h"      // apply_overrides
#include "recipes/reader.h"         // Reader
#include "recipes/text.h"           // listed
#include "recipes/variables.h"      // resolve_variables
#include "recipes/yaml_reader.h"    // parse_yaml

namespace compression::recipes {
namespace {

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
    throw ConfigError(printable(path.string()) + ": is a folder, expected a recipe");
  }
  const auto file = open_stream(path);
  if (!file) throw ConfigError(one_line(refused(path, "can't be opened, expected a recipe", errno)));
  std::string text(limits::recipe_bytes + 1, '\0');  // one more is told by the parser
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) throw ConfigError(one_line(refused(path, "can't be read", errno)));
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

Recipe parse_recipe(const std::string& text, const std::string& file, const std::vector<std::string>& overrides,
                    FileCheck files) {
  const auto name = printable(file);  // ConfigError takes a line's end for that of a message
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
  recipe.text = std::make_shared<const RecipeText>(name, std::move(root));
  return recipe;
}

void throw_if_any(const Problems& problems, const Recipe& recipe) {
  if (!recipe.text) return problems.throw_if_any();
  Issues issues;
  for (const auto& [key, message] : problems.list()) issues.add(locate(recipe.text->root, key), key, message);
  issues.throw_if_any(recipe.text->file);
}

Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides, FileCheck files) {
  return parse_recipe(read_file(path), path.string(), overrides, files);
}

}  // namespace compression::recipes
