#pragma once
// Text to token ids, as Hugging Face tokenizers make them.

#include <cstdint>
#include <filesystem>
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

/// Which text gives way where two are too long, as in Hugging Face transformers.
enum class Truncation { kLongestFirst, kOnlyFirst, kOnlySecond };

struct EncodeOptions {
  int64_t max_length = 512;        // in tokens, special ones included; 0: no limit
  bool add_special_tokens = true;  // [CLS] a [SEP], [CLS] a [SEP] b [SEP], or what the tokenizer's template says
  Truncation truncation = Truncation::kLongestFirst;
  bool offsets = false;  // fills offsets, sequence_ids and word_ids
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

  /// encode() for many texts, on all of LibTorch's intra-op threads; the order is kept.
  std::vector<Encoding> encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options) const;

  /// One more than the largest id: the rows that an embedding needs.
  virtual int64_t vocabulary_size() const = 0;

  virtual const SpecialIds& special_ids() const = 0;
  int64_t pad_id() const { return special_ids().pad; }
  std::optional<int64_t> mask_id() const { return special_ids().mask; }

  /// The files that load() reads and a copy of the model needs, relative to its folder.
  virtual const std::vector<std::filesystem::path>& files() const = 0;

  /// The folder that the files are in.
  virtual const std::filesystem::path& folder() const = 0;
};

/// Loads the tokenizer of a Hugging Face folder: tokenizer.json if there is one, else vocab.txt with
/// tokenizer_config.json. Throws CheckpointError (missing or damaged file), UnsupportedError (a tokenizer of another
/// kind).
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace compression
