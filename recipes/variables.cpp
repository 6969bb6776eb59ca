#include "recipes/variables.h"

#include <algorithm>
#include <set>

#include "compress/base/error.h"   // ConfigError
#include "compress/base/fields.h"  // join_key
#include "recipes/text.h"          // in_quotes, listed, did_you_mean, shown_key

namespace compression::recipes {
namespace {

using Kind = Node::Kind;

constexpr size_t kMaxChain = 64;         // variables within variables
constexpr size_t kMaxBytes = 64 * 1024;  // of one value
constexpr size_t kMaxTotal = 16 << 20;   // of all that have variables

Node* find_path(Node& root, std::string_view key) {
  Node* node = &root;
  for (const KeyStep& step : parse_key(key).value_or(std::vector<KeyStep>{})) {
    if (const auto* name = std::get_if<std::string>(&step)) {
      node = node->find(*name);
    } else {
      const size_t index = std::get<size_t>(step);
      node = node->kind == Kind::list && index < node->children.size() ? &node->children[index] : nullptr;
    }
    if (!node) return nullptr;
  }
  return node;
}

class Resolver {
 public:
  Resolver(Node& root, Issues& issues) : root_(root), issues_(issues) {}

  void resolve() {
    resolve_all(root_, "");
    if (const Node* variables = root_.find("variables")) refuse_idle_overrides(*variables);
  }

 private:
  struct Active {
    const Node* node;
    std::string key;
  };

  void resolve_all(Node& node, const std::string& key) {
    if (node.kind == Kind::scalar) resolve(node, key);
    for (size_t i = 0; i < node.children.size(); ++i) {
      Node& child = node.children[i];
      resolve_all(child, node.kind == Kind::list ? join_key(key, i) : join_key(key, shown_key(child.key)));
    }
  }

  /// A variable of --set that changes nothing. In a recipe it may stand idle: one that was written out has its values
  /// in place.
  void refuse_idle_overrides(const Node& variables) {
    std::vector<std::string_view> names;
    for (const Node& child : variables.children) {
      if (used_.contains(&child)) names.push_back(child.key);
    }
    for (const Node& child : variables.children) {
      if (child.origin.set.empty() || used_.contains(&child)) continue;
      issues_.add(child.origin, join_key("variables", shown_key(child.key)),
                  "is used nowhere in the recipe" +
                      (names.empty() ? ", which uses no variables"
                                     : ", expected one of " + listed(names) + did_you_mean(child.key, names)));
    }
  }

  void resolve(Node& node, const std::string& key) {
    if (!done_.insert(&node).second || node.text.find("${") == std::string::npos) return;
    active_.push_back({&node, key});
    try {
      if (!substitute(node)) node.kind = Kind::broken;
    } catch (const ConfigError& error) {
      issues_.add(node.origin, key, error.what());
      node.kind = Kind::broken;
    }
    active_.pop_back();
  }

  /// False if a variable of it is broken.
  bool substitute(Node& node) {
    const std::string source = node.text;
    std::string result;
    for (size_t at = 0; at < source.size();) {
      const std::string_view rest = std::string_view(source).substr(at);
      if (rest.starts_with("$${")) {
        result += "${";
        at += 3;
      } else if (rest.starts_with("${")) {
        const size_t end = rest.find('}');
        if (end == std::string_view::npos) throw ConfigError("found ${ without }, expected ${name}; $${ is a plain ${");
        const Node& variable = value_of(std::string(rest.substr(2, end - 2)));
        if (variable.kind == Kind::broken) return false;
        if (at == 0 && end + 1 == source.size()) node.quoted = variable.quoted;
        result += variable.text;
        at += end + 1;
      } else {
        result += rest.front();
        ++at;
      }
      if (result.size() > kMaxBytes)
        throw ConfigError("longer than 64 KiB with its variables, expected a shorter text");
    }
    total_ += result.size();
    if (total_ > kMaxTotal) throw ConfigError("values longer than 16 MiB in all with their variables, expected less");
    node.text = std::move(result);
    return true;
  }

  const Node& value_of(const std::string& name) {
    const auto [found, key] = find(name);
    Node& variable = *found;
    used_.insert(&variable);
    const bool cycle =
        std::any_of(active_.begin(), active_.end(), [&](const Active& active) { return active.node == &variable; });
    if (cycle) throw ConfigError("found ${" + name + "}, which refers back to itself: " + chain() + key);
    if (active_.size() >= kMaxChain) throw ConfigError("found more than 64 variables within variables");
    if (variable.kind == Kind::scalar) resolve(variable, key);
    return variable;
  }

  /// The value, and its key path.
  std::pair<Node*, std::string> find(const std::string& name) {
    std::string key = join_key("variables", shown_name(name));
    Node* variables = root_.find("variables");
    Node* found = variables ? variables->find(name) : nullptr;
    if (!found) {
      found = find_path(root_, name);
      key = name;
    }
    if (found && (found->kind == Kind::scalar || found->kind == Kind::broken)) return {found, key};
    if (found && found != &root_) throw ConfigError("found ${" + name + "}, expected the name of a single value");
    const std::vector<std::string_view> names = known();
    throw ConfigError("found ${" + shown_name(name) + "}, expected one of " + listed(names) +
                      did_you_mean(name, names));
  }

  static std::string shown_name(const std::string& name) { return parse_key(name) ? name : in_quotes(name); }

  std::vector<std::string_view> known() const {
    std::vector<std::string_view> names;
    if (const Node* variables = root_.find("variables")) {
      for (const Node& child : variables->children) names.push_back(child.key);
    }
    for (const Node& child : root_.children) {
      if (child.kind == Kind::scalar) names.push_back(child.key);
    }
    return names;
  }

  std::string chain() const {
    std::string text;
    for (const Active& active : active_) text += active.key + " -> ";
    return text;
  }

  Node& root_;
  Issues& issues_;
  size_t total_ = 0;
  std::vector<Active> active_;
  std::set<const Node*> done_, used_;
};

void refuse_ambiguous(const Node& root, Issues& issues) {
  const Node* variables = root.find("variables");
  if (!variables) return;
  for (const Node& variable : variables->children) {
    if (!variable.key.empty() && root.find(variable.key)) {
      issues.add(variable.origin, join_key("variables", shown_key(variable.key)),
                 "is a key of the recipe too, expected another name");
    }
  }
}

}  // namespace

void resolve_variables(Node& root, Issues& issues) {
  refuse_ambiguous(root, issues);
  Resolver(root, issues).resolve();
}

}  // namespace compression::recipes
