#include "recipes/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "compress/base/error.h"    // ConfigError
#include "compress/base/fields.h"   // join_key
#include "compress/base/limits.h"   // recipe_bytes
#include "compress/base/message.h"  // one_line
#include "recipes/text.h"           // in_quotes

namespace compression::recipes {
namespace {

using Kind = Node::Kind;

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxValues = 20000;

struct Failure {
  int line;  // 0: of the whole text
  std::string message;
};

struct Size {
  size_t values = 1, depth = 1;
};
Size measure(const Node& node) {
  Size size;
  for (const Node& child : node.children) {
    const Size below = measure(child);
    size.values += below.values;
    size.depth = std::max(size.depth, below.depth + 1);
  }
  return size;
}

/// Builds the tree from yaml-cpp's events: unlike YAML::Node, these tell keys that are there twice.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Issues& issues) : issues_(issues) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { finish(make(Kind::nothing, mark), anchor); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool text = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!text) refuse_tag(mark, tag);
    Node node = make(Kind::scalar, mark);
    node.text = value;
    node.quoted = text;
    finish(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Failure{mark.line + 1, "an alias refers to what holds it"};
    Node copy = found->second;
    copy.key.clear();
    copy.origin.line = mark.line + 1;
    count(measure(copy), copy.origin.line);
    attach(std::move(copy));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(Kind::list, mark, tag, anchor);
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(Kind::map, mark, tag, anchor);
  }
  void OnMapEnd() override {
    Open& map = open_.back();
    for (Node& entry : map.merged) {
      if (!map.node.find(entry.key)) map.node.children.push_back(std::move(entry));
    }
    end();
  }

 private:
  struct Open {  // a list or map whose end is to come
    Node node;
    YAML::anchor_t anchor;
    bool has_key = false, key_quoted = false;
    std::string key = {};
    Origin key_origin = {};
    std::vector<Node> merged = {};
  };

  Node make(Kind kind, const YAML::Mark& mark) {
    count({}, mark.line + 1);
    Node node;
    node.kind = kind;
    node.origin.line = mark.line + 1;
    return node;
  }

  void count(const Size& size, int line) {
    values_ += size.values;
    if (values_ > kMaxValues) {
      throw Failure{line,
                    "found more than " + std::to_string(kMaxValues) + " values, aliases written out; expected fewer"};
    }
    if (open_.size() + size.depth > kMaxDepth) {
      throw Failure{line, "found values nested deeper than " + std::to_string(kMaxDepth) + ", expected a flatter text"};
    }
  }

  static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Failure{mark.line + 1, "found the tag " + in_quotes(tag) + ", expected a value without a tag"};
    }
  }

  void start(Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_tag(mark, tag);
    open_.push_back({make(kind, mark), anchor});
  }

  void end() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    finish(std::move(closed.node), closed.anchor);
  }

  void finish(Node node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      count(measure(node), node.origin.line);
      anchors_[anchor] = node;
    }
    attach(std::move(node));
  }

  void attach(Node node) {
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (Open& parent = open_.back(); parent.node.kind == Kind::list) {
      parent.node.children.push_back(std::move(node));
    } else if (!parent.has_key) {
      if (node.kind != Kind::scalar)
        throw Failure{node.origin.line, "found a key that is no text, expected `key: value`"};
      parent.has_key = true;
      parent.key = node.text;
      parent.key_quoted = node.quoted;
      parent.key_origin = node.origin;
    } else {
      parent.has_key = false;
      attach_entry(parent, std::move(node));
    }
  }

  void attach_entry(Open& map, Node node) {
    if (map.key == "<<" && !map.key_quoted) return merge(map, node);
    if (const Node* first = map.node.find(map.key)) {
      issues_.add(map.key_origin, path_of(map.key), "is on line " + std::to_string(first->origin.line) + " already");
      return;
    }
    node.key = map.key;
    node.origin = map.key_origin;
    map.node.children.push_back(std::move(node));
  }

  static void merge(Open& map, const Node& node) {
    const std::vector<Node> single = {node};
    for (const Node& from : node.kind == Kind::list ? node.children : single) {
      if (from.kind != Kind::map) throw Failure{map.key_origin.line, "<< expects a map or a list of maps"};
      map.merged.insert(map.merged.end(), from.children.begin(), from.children.end());
    }
  }

  std::string path_of(std::string_view key) const {
    std::string path;
    for (size_t i = 0; i + 1 < open_.size(); ++i) {
      const Open& open = open_[i];
      path = open.node.kind == Kind::list ? join_key(path, open.node.children.size()) : join_key(path, open.key);
    }
    return join_key(path, shown_key(key));
  }

  Issues& issues_;
  Node root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Node> anchors_;
  size_t values_ = 0;
};

// yaml-cpp takes byte 4 for the end of the file, and passes ill-formed UTF-8 on.
void check_characters(const std::string& text) {
  if (text.size() > limits::recipe_bytes) {
    throw Failure{
        0, "the text has more than " + std::to_string(limits::recipe_bytes) + " bytes, which is the most that is read"};
  }
  const auto line_of = [&](size_t position) {
    return static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(position), '\n')) + 1;
  };
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 32 && c != '\n' && c != '\r' && c != '\t') || c == 127;
  });
  if (control != text.end()) {
    const auto position = static_cast<size_t>(control - text.begin());
    throw Failure{line_of(position), "found the control character " + std::to_string(*control) + ", expected text"};
  }
  try {
    (void)nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Failure{0, "the text is not UTF-8"};
  }
}

Node parse(const std::string& text, Issues& issues) {
  check_characters(text);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    TreeBuilder first(issues);
    if (!parser.HandleNextDocument(first)) return {};
    Issues ignored;
    TreeBuilder second(ignored);
    if (parser.HandleNextDocument(second)) throw Failure{0, "found two documents, expected one"};
    return first.take();
  } catch (const YAML::Exception& error) {
    throw Failure{error.mark.line + 1, "the YAML is ill-formed: " + error.msg};
  }
}

void stamp(Node& node, const Origin& origin) {
  node.origin = origin;
  for (Node& child : node.children) stamp(child, origin);
}

}  // namespace

Node parse_yaml(const std::string& text, const std::string& file, Issues& issues) {
  try {
    return parse(text, issues);
  } catch (const Failure& failure) {
    const std::string line = failure.line > 0 ? ":" + std::to_string(failure.line) : "";
    throw ConfigError(one_line(file + line + ": " + failure.message));
  }
}

Node parse_set_value(const std::string& value, const std::string& set) {
  try {
    Issues issues;
    Node node = parse(value, issues);
    if (!issues.empty()) throw Failure{0, "a key is there twice"};
    stamp(node, {.line = 0, .set = set});
    return node;
  } catch (const Failure& failure) {
    throw ConfigError(failure.message);
  }
}

}  // namespace compression::recipes
