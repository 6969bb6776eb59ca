#include "compress/tokenizer/wordpiece.h"

#include <algorithm>

#include "compress/base/error.h"
#include "compress/tokenizer/unicode.h"

namespace compression {

WordPiece::WordPiece(WordPieceConfig config)
    : max_characters_per_word_(static_cast<size_t>(config.max_characters_per_word)) {
  const auto unknown = std::find_if(config.vocabulary.begin(), config.vocabulary.end(),
                                    [&](const auto& entry) { return entry.first == config.unknown_token; });
  if (unknown == config.vocabulary.end()) {
    throw CheckpointError("vocabulary: found no \"" + config.unknown_token + "\", expected it as the unknown token");
  }
  unknown_id_ = unknown->second;
  trie_ = TokenTrie(std::move(config.vocabulary));
  continuing_ = trie_.find(config.continuing_prefix);
}

void WordPiece::append(std::string_view part, std::vector<int64_t>& ids, std::vector<PartRange>* ranges) const {
  const size_t before = ids.size();
  bool known = part.size() <= max_characters_per_word_ || unicode::count(part) <= max_characters_per_word_;
  std::optional<TokenTrie::Node> start = TokenTrie::kRoot;
  for (size_t position = 0; known && position < part.size();) {
    TokenTrie::Match piece;
    if (start) piece = trie_.longest_match(*start, part.substr(position));
    known = piece.size > 0;
    if (!known) break;
    ids.push_back(piece.id);
    if (ranges != nullptr) ranges->push_back({position, position + piece.size});
    position += piece.size;
    start = continuing_;
  }
  if (known) return;
  if (ranges != nullptr) {
    ranges->resize(ranges->size() - (ids.size() - before));
    ranges->push_back({0, part.size()});
  }
  ids.resize(before);
  ids.push_back(unknown_id_);
}

}  // namespace compression
