#pragma once
// Text that remembers which bytes of the original each of its bytes comes from.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer/tokenizer.h"  // ByteSpan
#include "compress/tokenizer/unicode.h"

namespace compression {

/// A part of a text. `sources` has an entry for each byte: the original bytes of the character that it belongs to, as
/// the alignments of Hugging Face's NormalizedString. Null where nobody asked.
struct TextView {
  std::string_view text;
  const ByteSpan* sources = nullptr;

  TextView slice(size_t begin, size_t end) const {
    return {text.substr(begin, end - begin), sources == nullptr ? nullptr : sources + begin};
  }

  /// The original bytes of [begin, end), which is not empty.
  ByteSpan original(size_t begin, size_t end) const { return {sources[begin].begin, sources[end - 1].end}; }
};

/// What AlignedText throws where a text becomes longer than it may.
struct TextTooLong {};

/// A text that is being made of another one, and what TextView::sources says of it.
struct AlignedText {
  std::string text;
  std::vector<ByteSpan> sources;  // empty where the text it is made of has none
  size_t most_bytes = SIZE_MAX;   // of the text; beyond it, functions throw TextTooLong

  void clear() {
    text.clear();
    sources.clear();
  }

  /// The bytes [begin, end) of `from`.
  void copy(const TextView& from, size_t begin, size_t end) {
    check(end - begin);
    text.append(from.text.substr(begin, end - begin));
    if (from.sources != nullptr) sources.insert(sources.end(), from.sources + begin, from.sources + end);
  }

  /// A character that stands for the one at byte `at` of `from`.
  void put(char32_t c, const TextView& from, size_t at) {
    check(1);
    unicode::append(c, text);
    if (from.sources != nullptr) sources.resize(text.size(), from.sources[at]);
  }

  /// Whether there is room for `more` bytes.
  void check(size_t more) const {
    if (text.size() > most_bytes || more > most_bytes - text.size()) throw TextTooLong();
  }

  TextView view() const { return {text, sources.empty() ? nullptr : sources.data()}; }
};

}  // namespace compression
