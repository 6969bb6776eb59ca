#pragma once
// How a normalised text is split before a model cuts the parts into tokens: the pre-tokenizers of Hugging Face.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/tokenizer/aligned_text.h"
#include "compress/tokenizer/pattern.h"

namespace compression {

/// Takes the parts of a text one by one; false: no more of them are wanted. Refers to a callable that outlives it.
class PartSink {
 public:
  template <class Callable>
  PartSink(const Callable& callable)  // NOLINT: converts as std::function does
      : callable_(&callable), call_([](const void* target, const TextView& part) -> bool {
          return (*static_cast<const Callable*>(target))(part);
        }) {}

  bool operator()(const TextView& part) const { return call_(callable_, part); }

 private:
  const void* callable_;
  bool (*call_)(const void*, const TextView&);
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;

  /// Gives the parts of `text`, none of them empty, to `sink`, in their order, until it refuses; whether it took all.
  virtual bool split(const TextView& text, const PartSink& sink) const = 0;

  /// Whether TextView::sources are needed to split.
  virtual bool needs_sources() const { return false; }
};

/// One after the other, each splits the parts of the one before.
class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::shared_ptr<const PreTokenizer>> steps) : steps_(std::move(steps)) {}
  bool split(const TextView& text, const PartSink& sink) const override { return split_from(0, text, sink); }
  bool needs_sources() const override;

 private:
  bool split_from(size_t step, const TextView& text, const PartSink& sink) const;

  std::vector<std::shared_ptr<const PreTokenizer>> steps_;
};

/// At white space, which is dropped, and on either side of punctuation.
class BertPreTokenizer final : public PreTokenizer {
 public:
  BertPreTokenizer();
  bool split(const TextView& text, const PartSink& sink) const override;

 private:
  enum class ByteClass : uint8_t { kWord, kSpace, kPunctuation, kNotAscii };

  std::array<ByteClass, 256> byte_classes_;
};

/// As GPT-2 (Radford et al., 2019): words, numbers and other signs, each with the space before it. The parts are the
/// bytes themselves, which a model of bytes reads (BpeConfig::byte_level).
class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool splits) : add_prefix_space_(add_prefix_space), splits_(splits) {}
  bool split(const TextView& text, const PartSink& sink) const override;

 private:
  bool split_words(const TextView& text, const PartSink& sink) const;

  bool add_prefix_space_;
  bool splits_;
};

/// As GPT-4 (cl100k_base of tiktoken), and Llama 3 and Qwen 2 after it: words with one sign before them, numbers of so
/// many digits, other signs with the space before and the lines' ends behind them.
class Gpt4Words final : public PreTokenizer {
 public:
  explicit Gpt4Words(size_t digits) : digits_(digits) {}
  bool split(const TextView& text, const PartSink& sink) const override;

 private:
  size_t digits_;  // at most
};

/// Spaces become `replacement`, which starts a part.
class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };  // kFirst: only at the start of a text

  Metaspace(std::string replacement, Prepend prepend, bool splits)
      : replacement_(std::move(replacement)), prepend_(prepend), splits_(splits) {}
  bool split(const TextView& text, const PartSink& sink) const override;
  bool needs_sources() const override { return prepend_ == Prepend::kFirst; }

 private:
  std::string replacement_;  // one character
  Prepend prepend_;
  bool splits_;
};

/// What becomes of the matches that a text is split at.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// At the characters of a kind.
class CharacterSplit final : public PreTokenizer {
 public:
  using Predicate = bool (*)(char32_t);

  CharacterSplit(Predicate is_match, SplitBehavior behavior) : is_match_(is_match), behavior_(behavior) {}
  bool split(const TextView& text, const PartSink& sink) const override;

 private:
  Predicate is_match_;
  SplitBehavior behavior_;
};

/// At the matches of a pattern or, inverted, at what is between them.
class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(Pattern pattern, SplitBehavior behavior, bool inverted)
      : pattern_(std::move(pattern)), behavior_(behavior), inverted_(inverted) {}
  bool split(const TextView& text, const PartSink& sink) const override;

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool inverted_;
};

/// Into runs of word characters and runs of others; white space is dropped.
class WhitespaceWords final : public PreTokenizer {
 public:
  bool split(const TextView& text, const PartSink& sink) const override;
};

}  // namespace compression
