#include "recipes/node.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "compress/base/error.h"    // ConfigError
#include "compress/base/message.h"  // one_line

namespace compression::recipes {
namespace {

bool is_below(std::string_view key, std::string_view parent) {
  return key.starts_with(parent) &&
         (key.size() == parent.size() || key[parent.size()] == '.' || key[parent.size()] == '[');
}

}  // namespace

const Node* Node::find(std::string_view name) const {
  if (kind != Kind::map) return nullptr;
  const auto found =
      std::find_if(children.begin(), children.end(), [&](const Node& child) { return child.key == name; });
  return found == children.end() ? nullptr : &*found;
}

Node* Node::find(std::string_view name) {
  return const_cast<Node*>(std::as_const(*this).find(name));
}

std::optional<std::vector<KeyStep>> parse_key(std::string_view key) {
  std::vector<KeyStep> steps;
  while (!key.empty()) {
    if (key.front() == '[') {
      size_t index = 0;
      const auto [end, error] = std::from_chars(key.data() + 1, key.data() + key.size(), index);
      if (error != std::errc{} || end == key.data() + key.size() || *end != ']') return std::nullopt;
      steps.emplace_back(index);
      key.remove_prefix(static_cast<size_t>(end - key.data()) + 1);
    } else {
      if (!steps.empty()) {
        if (key.front() != '.') return std::nullopt;
        key.remove_prefix(1);
      }
      const std::string_view name = key.substr(0, key.find_first_of(".[]"));
      if (name.empty()) return std::nullopt;
      steps.emplace_back(std::string(name));
      key.remove_prefix(name.size());
    }
  }
  if (steps.empty()) return std::nullopt;
  return steps;
}

const Origin& locate(const Node& root, std::string_view key) {
  const Node* node = &root;
  for (const KeyStep& step : parse_key(key).value_or(std::vector<KeyStep>{})) {
    const Node* next = nullptr;
    if (const auto* name = std::get_if<std::string>(&step)) {
      next = node->find(*name);
    } else if (const size_t index = std::get<size_t>(step);
               node->kind == Node::Kind::list && index < node->children.size()) {
      next = &node->children[index];
    }
    if (!next) break;
    node = next;
  }
  return node->origin;
}

void Issues::add(const Origin& origin, std::string key, std::string message) {
  list_.push_back({origin, std::move(key), std::move(message)});
}

bool Issues::concerns(std::string_view key) const {
  const auto related = [&](const std::string& other) {
    return !other.empty() && (is_below(other, key) || is_below(key, other));
  };
  return std::any_of(unread_.begin(), unread_.end(), related) ||
         std::any_of(list_.begin(), list_.end(), [&](const Issue& issue) { return related(issue.key); });
}

void Issues::throw_if_any(const std::string& file) const {
  if (list_.empty()) return;
  std::vector<Issue> sorted = list_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Issue& a, const Issue& b) {
    return std::pair(!a.origin.set.empty(), a.origin.line) < std::pair(!b.origin.set.empty(), b.origin.line);
  });
  std::string message;
  for (const Issue& issue : sorted) {
    const std::string place = issue.origin.line > 0 && issue.origin.set.empty()
                                  ? file + ":" + std::to_string(issue.origin.line)
                                  : "--set " + (issue.origin.set.empty() ? "\"\"" : issue.origin.set);
    message += (message.empty() ? "" : "\n") +
               one_line(place + ": " + issue.key + (issue.key.empty() ? "" : ": ") + issue.message);
  }
  throw ConfigError(message);
}

}  // namespace compression::recipes
