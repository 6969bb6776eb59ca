#pragma once
// What cuts a part of a text into tokens: WordPiece, BPE or Unigram.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

/// Bytes [begin, end) of the part that a model was given.
struct PartRange {
  size_t begin;
  size_t end;
};

class SubwordModel {
 public:
  virtual ~SubwordModel() = default;

  /// Appends the ids of `part`, which is valid UTF-8 and not empty, and where `ranges` is not null, where each token
  /// is.
  virtual void append(std::string_view part, std::vector<int64_t>& ids, std::vector<PartRange>* ranges) const = 0;
};

}  // namespace compression
