#pragma once
// How a normalised text is split before a model cuts the parts into tokens: the pre-tokenizers of Hugging Face.

#include <array>
#include <cstdint>
#include <string_view>

#include "compress/tokenizer/aligned_text.h"

namespace compression {

/// Takes the parts of a text one by one; false: no more of them are wanted. Refers to a callable that outlives it.
class PartSink {
 public:
  template <class Callable>
  PartSink(const Callable& callable)  // NOLINT: converts as std::function does
      : callable_(&callable),
        call_([](const void* target, const TextView& part) { return (*static_cast<const Callable*>(target))(part); }) {}

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

}  // namespace compression
