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

struct Encoding {
  std::vector<int64_t> input_ids;
  std::vector<int64_t> token_type_ids;  // 0 for the first text and its special tokens, 1 for the second
};

struct EncodeOptions {
  int64_t max_length = 512;        // in tokens, special ones included; longest-first truncation; 0: no limit
  bool add_special_tokens = true;  // [CLS] a [SEP], [CLS] a [SEP] b [SEP]
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Invalid UTF-8 is read as U+FFFD, one for each maximal ill-formed part (as Python's errors="replace" does).
  /// Throws ConfigError where max_length is negative or has no room for the special tokens.
  virtual Encoding encode(const TextInput& input, const EncodeOptions& options) const = 0;

  /// The same for many texts, on all of LibTorch's intra-op threads; the order is kept.
  std::vector<Encoding> encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options) const;

  /// One more than the largest id: the rows that an embedding needs.
  virtual int64_t vocabulary_size() const = 0;
  virtual int64_t pad_id() const = 0;

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
