#pragma once
// A tokenizer as Hugging Face's: added tokens, normalizer, pre-tokenizer, model, template.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/decoder.h"
#include "compress/tokenizer/normalizer.h"
#include "compress/tokenizer/pre_tokenizer.h"
#include "compress/tokenizer/subword_model.h"
#include "compress/tokenizer/template.h"
#include "compress/tokenizer/tokenizer.h"

namespace compression {

/// How many spaces a token begins and ends with, as white space or as GPT-2's sign for a space.
struct SpaceCounts {
  int32_t leading = 0;
  int32_t trailing = 0;
};

SpaceCounts count_spaces(std::string_view token);

class Vocabulary;

/// By id; without the tokens that have none.
std::unordered_map<int64_t, SpaceCounts> spaces_of(const Vocabulary& vocabulary);

/// Tokens by id, one after the other; ids that no token has are empty.
struct TokenTexts {
  std::string all;
  std::vector<uint32_t> ends;  // by id
};

/// Everything about a tokenizer, free of files.
struct PipelineConfig {
  std::vector<AddedToken> added_tokens = {};
  std::shared_ptr<const Normalizer> normalizer = nullptr;       // null: the text as it is
  std::shared_ptr<const PreTokenizer> pre_tokenizer = nullptr;  // null: the text is one part
  std::shared_ptr<const SubwordModel> model = nullptr;
  EncodingTemplate post_processor = {};
  std::shared_ptr<const Decoder> decoder = nullptr;      // null: a space between tokens
  std::unordered_map<int64_t, SpaceCounts> spaces = {};  // as spaces_of; only where post_processor trims offsets
  SpecialIds special_ids = {};
  int64_t vocabulary_size = 0;
  int64_t words_end = 0;  // as Tokenizer::words_end()
  TokenTexts texts = {};
  std::optional<int64_t> rows = {};
  std::optional<int64_t> max_length = {};
  SentenceSettings sentence = {};
  std::vector<std::string> warnings = {};
  std::filesystem::path folder = {};
  std::vector<std::filesystem::path> files = {};
};

/// Sets vocabulary_size, words_end and texts; the added tokens are there already.
void take_ids(const Vocabulary& vocabulary, PipelineConfig& config);

class TokenizerPipeline final : public Tokenizer {
 public:
  /// Throws CheckpointError where two added tokens look the same once they are normalised.
  explicit TokenizerPipeline(PipelineConfig config);

  Encoding encode(const TextInput& input, const EncodeOptions& options) const override;
  Encoding encode_words(std::span<const std::string> words, const EncodeOptions& options) const override;
  std::vector<Encoding> encode_windows(const TextInput& input, const EncodeOptions& options,
                                       int64_t stride) const override;
  int64_t vocabulary_size() const override { return config_.vocabulary_size; }
  int64_t words_end() const override { return config_.words_end; }
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  std::string_view token(int64_t id) const override;
  std::vector<NamedToken> added_tokens() const override;
  TemplateUse template_use(bool pair) const override;
  int64_t usable_ids() const override;
  std::optional<int64_t> max_length() const override { return config_.max_length; }
  const SentenceSettings& sentence() const override { return config_.sentence; }
  const std::vector<std::string>& warnings() const override { return config_.warnings; }
  const SpecialIds& special_ids() const override { return config_.special_ids; }
  const std::vector<std::filesystem::path>& files() const override { return config_.files; }
  const std::filesystem::path& folder() const override { return config_.folder; }

 private:
  /// What is done to a text before it is split, and the tokens that are looked for in what comes of it.
  struct Normalization {
    std::shared_ptr<const Normalizer> normalizer;
    AddedTokenMatcher added;
  };
  static Normalization normalization(std::shared_ptr<const Normalizer> normalizer, const PipelineConfig& config);

  /// Appends the tokens of a text: all of them, or at least the first `limit`. `word` is the id of all its words, or
  /// -1: they are numbered.
  void append_spaces(std::string_view text, SpaceCounts counts, TokenSequence& tokens) const;
  void append_text(std::string_view text, size_t limit, const EncodeOptions& options, int64_t word,
                   TokenSequence& tokens) const;
  TokenSequence tokens_of(std::string_view text, size_t limit, const EncodeOptions& options) const;

  PipelineConfig config_;
  std::unordered_set<int64_t> special_;  // ids
  AddedTokenMatcher added_in_text_;
  Normalization usual_;
  Normalization sentence_;  // in lower case first, where SentenceSettings say so
};

}  // namespace compression
