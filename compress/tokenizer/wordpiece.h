#pragma once
// The tokenizer of BERT and its relatives: BERT's cleaning and splitting, then the longest piece first.

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/bert_normalizer.h"
#include "compress/tokenizer/token_trie.h"
#include "compress/tokenizer/tokenizer.h"

namespace compression {

/// What a template is made of: one of the texts, or special tokens.
struct TemplatePiece {
  enum class Kind { kFirst, kSecond, kSpecial };
  Kind kind = Kind::kSpecial;
  int64_t type_id = 0;
  std::vector<int64_t> ids = {};  // of kSpecial
};

using SequenceTemplate = std::vector<TemplatePiece>;

/// Everything about a WordPiece tokenizer, free of files.
struct WordPieceConfig {
  std::vector<std::pair<std::string, int32_t>> vocabulary;  // the tokens differ and so do the ids; no id is negative
  std::string unknown_token = "[UNK]";                      // is in the vocabulary
  std::string continuing_prefix = "##";
  int64_t max_characters_per_word = 100;  // a longer word is unknown
  std::optional<BertNormalizerOptions> normalizer = BertNormalizerOptions{};
  std::vector<AddedToken> added_tokens = {};
  SequenceTemplate single = {};  // holds the first text once
  SequenceTemplate pair = {};    // holds both texts once
  int64_t pad_id = 0;
  std::filesystem::path folder = {};
  std::vector<std::filesystem::path> files = {};
};

/// Reads tokenizer.json where there is one, else vocab.txt with the settings and special tokens that
/// tokenizer_config.json and special_tokens_map.json name. Truncation and padding in tokenizer.json are not read.
/// Throws CheckpointError and UnsupportedError as load_tokenizer.
WordPieceConfig read_wordpiece_config(const std::filesystem::path& folder);

class WordPieceTokenizer final : public Tokenizer {
 public:
  /// Throws CheckpointError where the unknown token is not in the vocabulary, or two added tokens look the same once
  /// they are normalised.
  explicit WordPieceTokenizer(WordPieceConfig config);

  Encoding encode(const TextInput& input, const EncodeOptions& options) const override;
  int64_t vocabulary_size() const override { return vocabulary_size_; }
  int64_t pad_id() const override { return pad_id_; }
  const std::vector<std::filesystem::path>& files() const override { return files_; }
  const std::filesystem::path& folder() const override { return folder_; }

 private:
  using Ids = std::vector<int64_t>;

  /// Appends the ids of `text` to `ids`: all of them, or at least the first `limit`.
  void append_text(std::string_view text, size_t limit, Ids& ids) const;
  void append_normalized(std::string_view text, size_t end, Ids& ids) const;
  void append_words(std::string_view text, size_t end, Ids& ids) const;
  void append_word(std::string_view word, Ids& ids) const;

  enum class ByteClass : uint8_t { kWord, kSpace, kPunctuation, kNotAscii };

  TokenTrie trie_;
  std::optional<TokenTrie::Node> continuing_;  // spells the prefix of pieces inside a word
  int64_t unknown_id_ = 0;
  size_t max_characters_per_word_;
  std::optional<BertNormalizer> normalizer_;
  AddedTokenMatcher added_in_text_;
  AddedTokenMatcher added_in_normalized_;
  SequenceTemplate single_;
  SequenceTemplate pair_;
  std::array<ByteClass, 256> byte_classes_;
  int64_t vocabulary_size_ = 0;
  int64_t pad_id_;
  std::filesystem::path folder_;
  std::vector<std::filesystem::path> files_;
};

}  // namespace compression
