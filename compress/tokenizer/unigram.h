#pragma once
// The segmentation of highest probability under a unigram language model (Kudo, 2018,
// https://arxiv.org/abs/1804.10959), as Hugging Face tokenizers compute it: scores are summed in double.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/tokenizer/part_cache.h"
#include "compress/tokenizer/token_trie.h"

namespace compression {

struct UnigramConfig {
  std::vector<std::pair<std::string, double>> vocabulary;  // tokens with their logarithms of probability, by id
  std::optional<int32_t> unknown_id;                       // one of the vocabulary
  bool byte_fallback = false;                              // <0x00> to <0xFF> for what is unknown
};

class Unigram final : public CachingModel {
 public:
  explicit Unigram(const UnigramConfig& config);

 protected:
  /// Throws CheckpointError where a character is unknown and the model has no unknown token.
  void segment(std::string_view part, std::vector<Piece>& pieces) const override;

 private:
  TokenTrie trie_;
  std::vector<double> scores_;  // by id
  std::optional<int32_t> unknown_id_;
  double unknown_score_ = 0;
  std::vector<int32_t> byte_ids_;  // [256], or empty: no fallback
};

}  // namespace compression
