#pragma once
// A YAML text as a tree of values that know where they come from. No YAML library is seen here: yaml_reader.cpp has it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace compression::recipes {

/// Where a value was written: a line of the recipe, from 1, or the text after --set.
struct Origin {
  int line = 0;
  std::string set;
};

struct Node {
  enum class Kind {
    nothing,  // an empty value, or null
    scalar,
    list,
    map,
    broken,  // its problem is told already
  };

  Kind kind = Kind::nothing;
  std::string text;     // of a scalar
  bool quoted = false;  // a scalar in quotes is never a number
  std::string key;      // of an entry of a map
  Origin origin;        // of the key, if there is one
  std::vector<Node> children;

  Node* find(std::string_view name);
  const Node* find(std::string_view name) const;
};

/// One step of a key path: a name, or a position in a list.
using KeyStep = std::variant<std::string, size_t>;

/// Splits "stages[1].distill.epochs". Nothing if it is ill-formed.
std::optional<std::vector<KeyStep>> parse_key(std::string_view key);

/// Where the value at `key` was written, or the nearest that holds it.
const Origin& locate(const Node& root, std::string_view key);

/// What a recipe was read from.
struct RecipeText {
  std::string file;
  Node root;
};

/// The problems of a recipe, gathered to be told all at once.
class Issues {
 public:
  void add(const Origin& origin, std::string key, std::string message);

  /// For a value that could not be read because of a problem that is told elsewhere.
  void add_unread(std::string key) { unread_.push_back(std::move(key)); }

  bool empty() const { return list_.empty(); }

  /// True if `key`, something below it or something that holds it has a problem already.
  bool concerns(std::string_view key) const;

  /// Throws ConfigError with one line a problem, in the order of the file, those of --set last.
  void throw_if_any(const std::string& file) const;

 private:
  struct Issue {
    Origin origin;
    std::string key, message;
  };
  std::vector<Issue> list_;
  std::vector<std::string> unread_;
};

}  // namespace compression::recipes
