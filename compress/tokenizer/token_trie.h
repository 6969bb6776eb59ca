#pragma once
// A vocabulary as a byte trie, for the longest match at a place in a text.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression {

/// The nodes lie in breadth-first order, so that the children of a node are neighbours.
class TokenTrie {
 public:
  using Node = uint32_t;
  static constexpr Node kRoot = 0;

  struct Match {
    size_t size = 0;  // in bytes; 0: none
    int32_t id = -1;
  };

  /// The tokens differ; their ids are not negative.
  explicit TokenTrie(std::vector<std::pair<std::string, int32_t>> tokens = {});

  /// The node that spells `prefix`, if a token starts with it.
  std::optional<Node> find(std::string_view prefix) const;

  /// The longest beginning of `text` that makes a token together with what `start` spells. Never empty.
  Match longest_match(Node start, std::string_view text) const;

  /// Calls back with the size and id of each token that `text` begins with, the shortest first.
  template <class Callback>
  void for_each_match(std::string_view text, const Callback& callback) const {
    Node node = kRoot;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, text[i]);
      if (node == kNone) return;
      if (ids_[node] >= 0) callback(i + 1, ids_[node]);
    }
  }

 private:
  static constexpr Node kNone = UINT32_MAX;

  Node child(Node node, char byte) const;

  std::vector<Node> first_child_;  // [nodes + 1]; the children of n are first_child_[n] to first_child_[n + 1] - 1
  std::string bytes_;              // [nodes]; the byte that leads to a node
  std::vector<int32_t> ids_;       // [nodes]; -1 where no token ends
};

}  // namespace compression
