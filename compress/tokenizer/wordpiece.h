#pragma once
// The longest piece first: the model of BERT's tokenizer (Wu et al., 2016, https://arxiv.org/abs/1609.08144).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/tokenizer/subword_model.h"
#include "compress/tokenizer/token_trie.h"

namespace compression {

struct WordPieceConfig {
  std::vector<std::pair<std::string, int32_t>> vocabulary;  // the tokens differ and so do the ids; no id is negative
  std::string unknown_token = "[UNK]";                      // is in the vocabulary
  std::string continuing_prefix = "##";
  int64_t max_characters_per_word = 100;  // a longer word is unknown
};

class WordPiece final : public SubwordModel {
 public:
  /// Throws CheckpointError where the unknown token is not in the vocabulary.
  explicit WordPiece(WordPieceConfig config);

  void append(std::string_view part, std::vector<int64_t>& ids, std::vector<PartRange>* ranges) const override;

 private:
  TokenTrie trie_;
  std::optional<TokenTrie::Node> continuing_;  // spells the prefix of pieces inside a word
  int64_t unknown_id_ = 0;
  size_t max_characters_per_word_;
};

}  // namespace compression
