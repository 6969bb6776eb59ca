#include "compress/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "compress/base/error.h"
#include "compress/tokenizer/unicode.h"

namespace compression {

Unigram::Unigram(const UnigramConfig& config) : unknown_id_(config.unknown_id) {
  constexpr double kUnknownPenalty = 10;
  double lowest = std::numeric_limits<double>::infinity();
  std::unordered_map<std::string, int32_t> ids;  // of a token that is there twice, the last
  for (const auto& [token, score] : config.vocabulary) {
    if (!token.empty()) ids[token] = static_cast<int32_t>(scores_.size());
    scores_.push_back(score);
    lowest = std::min(lowest, score);
  }
  unknown_score_ = lowest - kUnknownPenalty;
  if (config.byte_fallback) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto found = ids.find(byte_token(byte));
      if (found != ids.end()) byte_ids_.push_back(found->second);
    }
    if (byte_ids_.size() < 256) byte_ids_.clear();
  }
  trie_ = TokenTrie({ids.begin(), ids.end()});
}

void Unigram::segment(std::string_view part, std::vector<Piece>& pieces) const {
  struct Best {  // path that ends at a byte
    double score = 0;
    size_t begin = SIZE_MAX;  // of its last piece; SIZE_MAX: none ends here
    int32_t id = 0;
  };
  thread_local std::vector<Best> best;
  best.assign(part.size() + 1, {});
  for (size_t begin = 0; begin < part.size();) {
    const double so_far = best[begin].score;
    size_t character = begin;
    unicode::decode(part, character);
    const auto offer = [&](size_t end, double score, int32_t id) {
      Best& target = best[end];
      if (target.begin == SIZE_MAX || score > target.score) target = {score, begin, id};
    };
    bool is_known = false;
    trie_.for_each_match(part.substr(begin), [&](size_t size, int32_t id) {
      offer(begin + size, scores_[static_cast<size_t>(id)] + so_far, id);
      is_known = is_known || begin + size == character;
    });
    if (!is_known) {
      if (!unknown_id_) throw CheckpointError("model.unk_id: found nothing, expected the id for unknown characters");
      offer(character, unknown_score_ + so_far, *unknown_id_);
    }
    begin = character;
  }

  const size_t first = pieces.size();
  for (size_t end = part.size(); end > 0; end = best[end].begin) {
    const bool continues = pieces.size() > first && unknown_id_ == best[end].id && unknown_id_ == pieces.back().id;
    if (continues) {
      pieces.back().range.begin = best[end].begin;
    } else {
      pieces.push_back({best[end].id, {best[end].begin, end}});
    }
  }
  std::reverse(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end());
  if (byte_ids_.empty()) return;
  const std::vector<Piece> found(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end());
  pieces.resize(first);
  for (const Piece& piece : found) {
    const std::string_view text = part.substr(piece.range.begin, piece.range.end - piece.range.begin);
    if (unknown_id_ != piece.id || trie_.longest_match(TokenTrie::kRoot, text).size == text.size()) {
      pieces.push_back(piece);
      continue;
    }
    for (char byte : text) pieces.push_back({byte_ids_[static_cast<unsigned char>(byte)], piece.range});
  }
}

}  // namespace compression
