#include "compress/tokenizer/token_trie.h"

#include <algorithm>
#include <cstring>

namespace compression {

TokenTrie::TokenTrie(std::vector<std::pair<std::string, int32_t>> tokens) {
  std::sort(tokens.begin(), tokens.end());
  struct Range {  // of the tokens that share the first `depth` bytes: one node
    size_t begin;
    size_t end;
    size_t depth;
  };
  std::vector<Range> ranges{{0, tokens.size(), 0}};
  bytes_.push_back(0);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    first_child_.push_back(static_cast<Node>(ranges.size()));
    ids_.push_back(-1);
    if (begin < end && tokens[begin].first.size() == depth) ids_.back() = tokens[begin++].second;
    while (begin < end) {
      const char byte = tokens[begin].first[depth];
      size_t next = begin + 1;
      while (next < end && tokens[next].first[depth] == byte) ++next;
      ranges.push_back({begin, next, depth + 1});
      bytes_.push_back(byte);
      begin = next;
    }
  }
  first_child_.push_back(static_cast<Node>(ranges.size()));
}

TokenTrie::Node TokenTrie::child(Node node, char byte) const {
  const Node first = first_child_[node];
  const void* found = std::memchr(bytes_.data() + first, byte, first_child_[node + 1] - first);
  return found == nullptr ? kNone : static_cast<Node>(static_cast<const char*>(found) - bytes_.data());
}

std::optional<TokenTrie::Node> TokenTrie::find(std::string_view prefix) const {
  Node node = kRoot;
  for (char byte : prefix) {
    node = child(node, byte);
    if (node == kNone) return std::nullopt;
  }
  return node;
}

TokenTrie::Match TokenTrie::longest_match(Node start, std::string_view text) const {
  Match longest;
  Node node = start;
  for (size_t i = 0; i < text.size(); ++i) {
    node = child(node, text[i]);
    if (node == kNone) break;
    if (ids_[node] >= 0) longest = {i + 1, ids_[node]};
  }
  return longest;
}

}  // namespace compression
