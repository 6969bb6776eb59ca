#pragma once
// Text to token ids, as Hugging Face tokenizers make them.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

/// A text, or a pair of texts where the task compares two.
struct TextInput {
  std::string text;
  std::optional<std::string> pair;
};

/// Bytes [begin, end) of a text.
struct ByteSpan {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const ByteSpan&) const = default;
};

/// One entry a token; the last three only with EncodeOptions::offsets.
struct Encoding {
  std::vector<int64_t> input_ids;
  std::vector<int64_t> token_type_ids;
  std::vector<ByteSpan> offsets;      // of the token's own text (of its word, in encode_words); {0, 0}: special tokens
  std::vector<int64_t> sequence_ids;  // 0: the first text, 1: the second, -1: special tokens
  std::vector<int64_t> word_ids;      // from 0 in each text; -1: special tokens
};

/// The first token of a word that Tokenizer::encode_words() was given.
struct WordStart {
  size_t token, word;
};

/// In order; words that were cut off are not among them. `encoding`: with offsets.
std::vector<WordStart> word_starts(const Encoding& encoding);

/// Which text gives way where two are too long, as in Hugging Face transformers.
enum class Truncation { kLongestFirst, kOnlyFirst, kOnlySecond };

struct EncodeOptions {
  int64_t max_length = 512;        // in tokens, special ones included; 0: no limit
  bool add_special_tokens = true;  // [CLS] a [SEP], [CLS] a [SEP] b [SEP], or what the tokenizer's template says
  Truncation truncation = Truncation::kLongestFirst;
  bool offsets = false;   // fills offsets, sequence_ids and word_ids
  bool sentence = false;  // of a model for embedding: with the prompt and the lower case of SentenceSettings
  std::optional<std::string_view> prompt = {};  // of a sentence, in place of SentenceSettings::prompt
};

/// What the files of sentence-transformers in the folder say of texts; a model for embedding is given texts so.
struct SentenceSettings {
  std::optional<int64_t> max_length = {};           // tokens that a text is cut to: max_seq_length
  bool lower_case = false;                          // before the tokenizer's own normalisation: do_lower_case
  std::string prompt = {};                          // before each text: that of default_prompt_name
  std::map<std::string, std::string> prompts = {};  // those that there are, by name
};

/// A token that is looked for in the text itself.
struct NamedToken {
  std::string content;
  int64_t id = 0;
};

/// What a template puts around a text or a pair.
struct TemplateUse {
  std::vector<int64_t> ids = {};  // of its special tokens, in order
  int64_t token_types = 1;        // one more than the largest type that it gives
};

/// Ids of the tokens with a role.
struct SpecialIds {
  int64_t pad = 0;  // of the end-of-text token where there is no padding token
  std::optional<int64_t> cls;
  std::optional<int64_t> sep;
  std::optional<int64_t> mask;
  std::optional<int64_t> unk;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Invalid UTF-8 is read as U+FFFD, one for each maximal ill-formed part (as Python's errors="replace" does).
  /// Throws ConfigError where max_length is negative, has no room for the special tokens, or is so small that nothing
  /// is left of the one text that `truncation` allows to be cut.
  virtual Encoding encode(const TextInput& input, const EncodeOptions& options) const = 0;

  /// A text that is already split into words, as Hugging Face's is_split_into_words=True: word_ids are indices into
  /// `words`, offsets are bytes of the word. A word may have no token. Throws as encode().
  virtual Encoding encode_words(std::span<const std::string> words, const EncodeOptions& options) const = 0;

  /// A text too long for max_length as several encodings, which overlap in `stride` tokens, as Hugging Face's
  /// return_overflowing_tokens=True. The text that is cut is the one that options.truncation names (of a single text,
  /// the first); in a pair, the other is in each window whole. Throws as encode(), also ConfigError where `stride` is
  /// negative or not less than the tokens of a window, or a pair is given with kLongestFirst.
  virtual std::vector<Encoding> encode_windows(const TextInput& input, const EncodeOptions& options,
                                               int64_t stride) const = 0;

  /// encode() for many texts, on as many threads as OpenMP has (omp_get_max_threads()); the order is kept.
  std::vector<Encoding> encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options) const;

  /// The text of tokens, valid UTF-8: U+FFFD where their bytes are none. Ids of no token are left out; `skip_special`:
  /// special tokens too. As Hugging Face's decode() without clean_up_tokenization_spaces. Throws UnsupportedError where
  /// the tokenizer has a decoder that we have not.
  virtual std::string decode(std::span<const int64_t> ids, bool skip_special = true) const = 0;

  /// One more than the largest id: the rows that an embedding needs.
  virtual int64_t vocabulary_size() const = 0;

  /// One more than the largest id of a token that is not an added one: any text may give ids below it.
  virtual int64_t words_end() const = 0;

  /// A token as its vocabulary has it: "the", "##ing". Empty: there is none of the id.
  virtual std::string_view token(int64_t id) const = 0;

  /// The tokens that are looked for in the text itself.
  virtual std::vector<NamedToken> added_tokens() const = 0;

  virtual TemplateUse template_use(bool pair) const = 0;

  /// Ids below it have a row in the model's table of words: vocabulary_size(), or what load_tokenizer() was told or
  /// found in the folder's config.json, if that is less. Texts with other ids can't be computed.
  virtual int64_t usable_ids() const = 0;

  /// Tokens of the longest text, as tokenizer_config.json says (model_max_length); nothing if it does not.
  virtual std::optional<int64_t> max_length() const = 0;

  virtual const SentenceSettings& sentence() const = 0;

  /// Where the folder's files contradict each other, and which of them is followed; a line each.
  virtual const std::vector<std::string>& warnings() const = 0;

  virtual const SpecialIds& special_ids() const = 0;
  int64_t pad_id() const { return special_ids().pad; }
  std::optional<int64_t> mask_id() const { return special_ids().mask; }

  /// The files that load() reads and a copy of the model needs, relative to its folder.
  virtual const std::vector<std::filesystem::path>& files() const = 0;

  /// The folder that the files are in.
  virtual const std::filesystem::path& folder() const = 0;
};

/// Loads the tokenizer of a Hugging Face folder, as AutoTokenizer of transformers 5 does: tokenizer.json if there is
/// one, else vocab.txt, vocab.json or a sentencepiece model, each with tokenizer_config.json; else of a GGUF file, in
/// the folder or named itself. `rows`: of the table of words of the model that is to read its ids, where that is in
/// another folder. Throws CheckpointError (missing or damaged file), UnsupportedError (a tokenizer of another kind).
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& folder,
                                                std::optional<int64_t> rows = std::nullopt);

}  // namespace compression
