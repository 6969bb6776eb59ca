#pragma once
// What is done to a text before it is split: the normalizers of Hugging Face tokenizers.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/base/limits.h"
#include "compress/tokenizer/aligned_text.h"
#include "compress/tokenizer/pattern.h"

namespace compression {

/// What may become of a text of so many bytes: no sound normalizer comes near it.
constexpr size_t longest_normalized(size_t bytes) {
  return bytes * limits::normalized_growth + limits::normalized_extra;
}

class Normalizer {
 public:
  virtual ~Normalizer() = default;

  /// Appends the normalised form of `text`, which is valid UTF-8, to `result`. Throws TextTooLong where result has no
  /// room for it.
  virtual void append(const TextView& text, AlignedText& result) const = 0;

  /// Throws TextTooLong beyond longest_normalized().
  std::string normalize(std::string_view text) const;
};

/// One after the other.
class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::shared_ptr<const Normalizer>> steps) : steps_(std::move(steps)) {}
  void append(const TextView& text, AlignedText& result) const override;

 private:
  std::vector<std::shared_ptr<const Normalizer>> steps_;
};

/// The normalisation forms of Unicode (UAX #15), as of Unicode 9.
class UnicodeForm final : public Normalizer {
 public:
  UnicodeForm(bool compatibility, bool composed) : compatibility_(compatibility), composed_(composed) {}
  void append(const TextView& text, AlignedText& result) const override;

 private:
  bool compatibility_;
  bool composed_;
};

/// Each character in lower case, without regard to its neighbours.
class Lowercase final : public Normalizer {
 public:
  void append(const TextView& text, AlignedText& result) const override;
};

/// Without combining marks (category M).
class StripAccents final : public Normalizer {
 public:
  void append(const TextView& text, AlignedText& result) const override;
};

/// Without white space at the ends.
class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void append(const TextView& text, AlignedText& result) const override;

 private:
  bool left_;
  bool right_;
};

/// `content` in the place of each match.
class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void append(const TextView& text, AlignedText& result) const override;

 private:
  Pattern pattern_;
  std::string content_;
};

/// `prefix` before a text that is not empty.
class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void append(const TextView& text, AlignedText& result) const override;

 private:
  std::string prefix_;
};

/// Cleans as sentencepiece's "nmt" rules.
class Nmt final : public Normalizer {
 public:
  void append(const TextView& text, AlignedText& result) const override;
};

/// The table of a sentencepiece model: grapheme clusters and characters with what they become.
class Precompiled final : public Normalizer {
 public:
  /// `charsmap`: the size of a double-array trie in bytes (32 bits, little-endian), the trie, and the replacements,
  /// each ended by a NUL. Throws CheckpointError, whose message `place` begins.
  Precompiled(std::string_view charsmap, const std::string& place);
  void append(const TextView& text, AlignedText& result) const override;

 private:
  const char* find(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace compression
