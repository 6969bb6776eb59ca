#pragma once
// What makes a text of tokens: the decoders of Hugging Face tokenizers.

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace compression {

class Decoder {
 public:
  virtual ~Decoder() = default;

  /// Changes tokens, in their order, into parts of a text, of which there may be fewer. Throws UnsupportedError where
  /// the tokenizer has a decoder that we have not.
  virtual void decode(std::vector<std::string>& tokens) const = 0;
};

/// One after the other.
class DecoderSequence final : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::shared_ptr<const Decoder>> steps) : steps_(std::move(steps)) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::vector<std::shared_ptr<const Decoder>> steps_;
};

/// Bytes of byte_characters(); U+FFFD for what is no UTF-8. A token with another character stands for itself.
class ByteLevelDecoder final : public Decoder {
 public:
  void decode(std::vector<std::string>& tokens) const override;
};

/// A space before each word but the first. `cleanup`: none before English punctuation and short forms.
class WordPieceDecoder final : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::string prefix_;
  bool cleanup_;
};

/// Spaces in the place of `mark`, which the first token loses where one was put before the text.
class MetaspaceDecoder final : public Decoder {
 public:
  MetaspaceDecoder(std::string mark, bool was_prepended) : mark_(std::move(mark)), was_prepended_(was_prepended) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::string mark_;
  bool was_prepended_;
};

/// `content` in the place of `text` in each token.
class ReplaceDecoder final : public Decoder {
 public:
  ReplaceDecoder(std::string text, std::string content) : text_(std::move(text)), content_(std::move(content)) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::string text_, content_;
};

/// The characters of tokens <0x00> to <0xFF> that follow each other; U+FFFD for each byte where they are no UTF-8.
class ByteFallbackDecoder final : public Decoder {
 public:
  void decode(std::vector<std::string>& tokens) const override;
};

/// All in one.
class FuseDecoder final : public Decoder {
 public:
  void decode(std::vector<std::string>& tokens) const override;
};

/// Each without `content` at its start and end, so many times at most.
class StripDecoder final : public Decoder {
 public:
  /// content: not empty.
  StripDecoder(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::string content_;
  size_t start_, stop_;
};

/// A space in the place of the suffix that ends words, but the last's.
class SuffixDecoder final : public Decoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::string suffix_;
};

/// One that we have not: texts can be read, and not be made.
class UnknownDecoder final : public Decoder {
 public:
  explicit UnknownDecoder(std::string message) : message_(std::move(message)) {}
  void decode(std::vector<std::string>& tokens) const override;

 private:
  std::string message_;
};

/// As sentencepiece makes texts of its pieces.
std::shared_ptr<const Decoder> sentencepiece_decoder(bool prefix);

}  // namespace compression
