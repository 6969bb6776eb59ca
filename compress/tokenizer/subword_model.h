#pragma once
// What cuts a part of a text into tokens: WordPiece, BPE or Unigram.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

/// The token that stands for a byte of an unknown character: <0x00> to <0xFF>.
inline std::string byte_token(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

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
