#pragma once
// Byte-pair encoding (Sennrich et al., 2016, https://arxiv.org/abs/1508.07909), of characters or of bytes.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compress/tokenizer/part_cache.h"

namespace compression {

/// GPT-2's printable character for each byte (Radford et al., 2019), as UTF-8.
const std::array<std::string, 256>& byte_characters();

/// Two tokens and what they are merged into.
struct MergeIds {
  int32_t left, right, whole;
};

struct BpeConfig {
  std::unordered_map<std::string, int32_t> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;  // the first to merge first; both and their union are tokens
  std::vector<MergeIds> merge_ids;           // the same, of tokens that are known to be in the vocabulary
  std::optional<std::string> unknown_token;  // is in the vocabulary; none: unknown characters are dropped
  std::string continuing_prefix;
  std::string end_of_word_suffix;
  bool fuse_unknown = false;
  bool byte_fallback = false;  // <0x00> to <0xFF> for the bytes of an unknown character
  bool ignore_merges = false;  // a part that is a token stays whole
  bool byte_level = false;     // symbols are bytes, which the vocabulary spells as byte_characters()
};

class Bpe final : public CachingModel {
 public:
  /// Throws CheckpointError where a merge or the unknown token is not in the vocabulary; `place` begins its message.
  Bpe(BpeConfig config, const std::string& place);

 protected:
  void segment(std::string_view part, std::vector<Piece>& pieces) const override;

 private:
  struct Merge {
    int32_t rank;
    int32_t id;
  };
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;   // -1: none
    uint32_t size;  // in bytes; 0: merged into another
  };

  const Merge* merge_of(int32_t left, int32_t right) const;
  void append_symbols(std::string_view part, std::vector<Symbol>& symbols) const;
  void merge_all(std::vector<Symbol>& symbols) const;
  std::optional<int32_t> find(const std::string& token) const;

  BpeConfig config_;  // without its merges
  std::optional<int32_t> unknown_id_;
  std::array<std::optional<int32_t>, 256> byte_ids_;  // of byte_level, or of byte_fallback
  std::unordered_map<uint64_t, Merge> merges_;        // by both ids
};

}  // namespace compression
