#pragma once
// What a model made of the parts that a thread has met lately: words repeat.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "compress/tokenizer/subword_model.h"

namespace compression {

struct Piece {
  int32_t id;
  PartRange range;
};

/// A model whose pieces are kept.
class CachingModel : public SubwordModel {
 public:
  void append(std::string_view part, std::vector<int64_t>& ids, std::vector<PartRange>* ranges) const final {
    constexpr size_t kLongest = 64;  // in bytes; longer parts hardly repeat
    thread_local Cache cache;
    thread_local std::vector<Piece> pieces;
    if (part.size() > kLongest) {
      pieces.clear();
      segment(part, pieces);
      return append_pieces(pieces, ids, ranges);
    }
    if (cache.owner != number_ || cache.parts.size() >= Cache::kCapacity) {
      cache.parts.clear();
      cache.owner = number_;
    }
    auto found = cache.parts.find(part);
    if (found == cache.parts.end()) {
      pieces.clear();
      segment(part, pieces);
      found = cache.parts.emplace(part, pieces).first;
    }
    append_pieces(found->second, ids, ranges);
  }

 protected:
  /// Appends the pieces of `part`, which is not empty.
  virtual void segment(std::string_view part, std::vector<Piece>& pieces) const = 0;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  struct Cache {
    static constexpr size_t kCapacity = 1 << 15;
    uint64_t owner = 0;
    std::unordered_map<std::string, std::vector<Piece>, Hash, std::equal_to<>> parts;
  };

  static void append_pieces(const std::vector<Piece>& pieces, std::vector<int64_t>& ids,
                            std::vector<PartRange>* ranges) {
    for (const Piece& piece : pieces) ids.push_back(piece.id);
    if (ranges == nullptr) return;
    for (const Piece& piece : pieces) ranges->push_back(piece.range);
  }

  static uint64_t next_number() {
    static std::atomic<uint64_t> last = 0;
    return ++last;
  }

  uint64_t number_ = next_number();  // an address may be used again
};

}  // namespace compression
