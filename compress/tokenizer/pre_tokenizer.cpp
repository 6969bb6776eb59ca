#include "compress/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

/// A match, or what is between two.
struct Segment {
  size_t begin;
  size_t end;
  bool is_match;
};

/// Joins or drops segments, as SplitDelimiterBehavior of Hugging Face tokenizers, and gives the rest to the sink.
bool emit(const TextView& text, std::vector<Segment>& segments, SplitBehavior behavior, const PartSink& sink) {
  const auto join = [&](auto joins) {
    size_t kept = 0;
    for (size_t i = 0; i < segments.size(); ++i) {
      if (i > 0 && joins(i)) {
        segments[kept - 1].end = segments[i].end;
      } else {
        segments[kept++] = segments[i];
      }
    }
    segments.resize(kept);
  };
  std::vector<bool> is_match;
  for (const Segment& segment : segments) is_match.push_back(segment.is_match);
  switch (behavior) {
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kMergedWithPrevious:
      join([&](size_t i) { return is_match[i] && !is_match[i - 1]; });
      break;
    case SplitBehavior::kMergedWithNext:
      join([&](size_t i) { return !is_match[i] && is_match[i - 1]; });
      break;
    case SplitBehavior::kContiguous:
      join([&](size_t i) { return is_match[i] == is_match[i - 1]; });
      break;
  }
  for (const Segment& segment : segments) {
    if (behavior == SplitBehavior::kRemoved && segment.is_match) continue;
    if (segment.begin < segment.end && !sink(text.slice(segment.begin, segment.end))) return false;
  }
  return true;
}

}  // namespace

bool PreTokenizerSequence::split_from(size_t step, const TextView& text, const PartSink& sink) const {
  if (step == steps_.size()) return sink(text);
  return steps_[step]->split(text, [&](const TextView& part) { return split_from(step + 1, part, sink); });
}

bool PreTokenizerSequence::needs_sources() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->needs_sources(); });
}

BertPreTokenizer::BertPreTokenizer() {
  for (size_t i = 0; i < byte_classes_.size(); ++i) {
    byte_classes_[i] = i >= 0x80                         ? ByteClass::kNotAscii
                       : unicode::is_white_space(i)      ? ByteClass::kSpace
                       : unicode::is_bert_punctuation(i) ? ByteClass::kPunctuation
                                                         : ByteClass::kWord;
  }
}

bool BertPreTokenizer::split(const TextView& text, const PartSink& sink) const {
  const size_t size = text.text.size();
  size_t word = 0;  // where the current word starts
  for (size_t i = 0; i < size;) {
    const size_t at = i;
    ByteClass character = byte_classes_[static_cast<unsigned char>(text.text[i])];
    if (character == ByteClass::kNotAscii) {
      const char32_t c = unicode::decode(text.text, i);
      character = unicode::is_white_space(c)        ? ByteClass::kSpace
                  : unicode::is_bert_punctuation(c) ? ByteClass::kPunctuation
                                                    : ByteClass::kWord;
    } else {
      ++i;
    }
    if (character == ByteClass::kWord) continue;
    if (word < at && !sink(text.slice(word, at))) return false;
    if (character == ByteClass::kPunctuation && !sink(text.slice(at, i))) return false;
    word = i;
  }
  return word == size || sink(text.slice(word, size));
}

namespace {

enum class CharacterClass : uint8_t { kLetter, kNumber, kSpace, kOther };

CharacterClass class_of(char32_t c) {
  return unicode::is_white_space(c) ? CharacterClass::kSpace
         : unicode::is_letter(c)    ? CharacterClass::kLetter
         : unicode::is_number(c)    ? CharacterClass::kNumber
                                    : CharacterClass::kOther;
}

/// Of the character at `position`, which is moved behind it.
CharacterClass class_at(std::string_view text, size_t& position) {
  static const auto ascii = [] {
    std::array<CharacterClass, 128> classes;
    for (size_t i = 0; i < classes.size(); ++i) classes[i] = class_of(static_cast<char32_t>(i));
    return classes;
  }();
  if (unicode::is_ascii(text[position])) return ascii[static_cast<unsigned char>(text[position++])];
  return class_of(unicode::decode(text, position));
}

}  // namespace

bool ByteLevel::split(const TextView& text, const PartSink& sink) const {
  if (!add_prefix_space_ || text.text.starts_with(' ')) return splits_ ? split_words(text, sink) : sink(text);
  AlignedText prefixed;
  prefixed.text.reserve(text.text.size() + 1);
  prefixed.put(' ', text, 0);
  prefixed.copy(text, 0, text.text.size());
  return splits_ ? split_words(prefixed.view(), sink) : sink(prefixed.view());
}

/// The expression 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
bool ByteLevel::split_words(const TextView& text, const PartSink& sink) const {
  const std::string_view bytes = text.text;
  const auto contraction = [&](size_t at) -> size_t {
    for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (bytes.substr(at).starts_with(ending)) return ending.size();
    }
    return 0;
  };
  for (size_t begin = 0; begin < bytes.size();) {
    size_t end = begin;
    if (bytes[begin] == '\'' && contraction(begin) > 0) {
      end += contraction(begin);
    } else {
      const bool starts_with_space = bytes[begin] == ' ';
      end += starts_with_space;
      const bool is_over = end == bytes.size();
      const CharacterClass first = is_over ? CharacterClass::kSpace : class_at(bytes, end);
      size_t last = begin;  // where the last character of the run begins
      size_t count = 1 + (starts_with_space && !is_over);
      if (starts_with_space && !is_over) last = begin + 1;
      for (size_t next = end; next < bytes.size() && class_at(bytes, next) == first; end = next) {
        last = end;
        ++count;
      }
      // White space leaves its last character to what follows.
      if (first == CharacterClass::kSpace && end < bytes.size() && count > 1) end = last;
    }
    if (!sink(text.slice(begin, end))) return false;
    begin = end;
  }
  return true;
}

/// The expression (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
bool Gpt4Words::split(const TextView& text, const PartSink& sink) const {
  const std::string_view bytes = text.text;
  const auto contraction = [&](size_t at) -> size_t {
    if (bytes[at] != '\'') return 0;
    if (bytes.substr(at + 1).starts_with("\u017F")) return 3;  // the long s
    for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
      const auto found = bytes.substr(at + 1, ending.size());
      const auto same = [](char a, char b) { return (a | 0x20) == b; };
      if (std::ranges::equal(found, ending, same)) return 1 + ending.size();
    }
    return 0;
  };
  const auto is_line_end = [&](size_t at) { return bytes[at] == '\r' || bytes[at] == '\n'; };
  /// Behind the characters of a kind from `at` on, at most so many.
  const auto behind = [&](size_t at, CharacterClass kind, size_t most) {
    for (size_t next = at; most > 0 && next < bytes.size() && class_at(bytes, next) == kind; --most) at = next;
    return at;
  };
  const auto end_of = [&](size_t begin) {
    if (const auto size = contraction(begin)) return begin + size;
    size_t next = begin;
    const auto first = class_at(bytes, next);
    if (first == CharacterClass::kLetter) return behind(next, first, SIZE_MAX);
    if (first == CharacterClass::kNumber) return behind(begin, first, digits_);
    if (!is_line_end(begin)) {
      if (const auto end = behind(next, CharacterClass::kLetter, SIZE_MAX); end > next) return end;
    }
    const auto signs = bytes[begin] == ' ' ? next : begin;
    if (auto end = behind(signs, CharacterClass::kOther, SIZE_MAX); end > signs) {
      while (end < bytes.size() && is_line_end(end)) ++end;
      return end;
    }
    const auto end = behind(begin, CharacterClass::kSpace, SIZE_MAX);
    if (const auto line = bytes.substr(begin, end - begin).find_last_of("\r\n"); line != std::string_view::npos) {
      return begin + line + 1;
    }
    // White space leaves its last character to what follows.
    if (end == bytes.size() || end == next) return end;
    size_t last = begin;
    for (size_t i = begin; i < end; unicode::decode(bytes, i)) last = i;
    return last;
  };
  for (size_t begin = 0; begin < bytes.size();) {
    const auto end = end_of(begin);
    if (!sink(text.slice(begin, end))) return false;
    begin = end;
  }
  return true;
}

bool Metaspace::split(const TextView& text, const PartSink& sink) const {
  AlignedText spaced;
  spaced.text.reserve(text.text.size() + 2 * replacement_.size());
  size_t start = 0;
  const char32_t replacement = unicode::decode(replacement_, start);
  const bool starts_with_space = text.text.starts_with(' ') || text.text.starts_with(replacement_);
  if (!starts_with_space &&
      (prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && text.sources[0].begin == 0))) {
    spaced.put(replacement, text, 0);
  }
  for (size_t i = 0; i < text.text.size();) {
    const size_t space = std::min(text.text.find(' ', i), text.text.size());
    spaced.copy(text, i, space);
    if (space < text.text.size()) spaced.put(replacement, text, space);
    i = space + 1;
  }
  const TextView view = spaced.view();
  if (!splits_) return sink(view);
  for (size_t begin = 0; begin < view.text.size();) {
    const size_t end = std::min(view.text.find(replacement_, begin + 1), view.text.size());
    if (!sink(view.slice(begin, end))) return false;
    begin = end;
  }
  return true;
}

bool CharacterSplit::split(const TextView& text, const PartSink& sink) const {
  std::vector<Segment> segments;
  for (size_t i = 0; i < text.text.size();) {
    const size_t begin = i;
    const bool is_match = is_match_(unicode::decode(text.text, i));
    if (!is_match && !segments.empty() && !segments.back().is_match) {
      segments.back().end = i;
    } else {
      segments.push_back({begin, i, is_match});
    }
  }
  return emit(text, segments, behavior_, sink);
}

bool PatternSplit::split(const TextView& text, const PartSink& sink) const {
  std::vector<Segment> segments;
  size_t position = 0;
  for (const PatternMatch& match : pattern_.find(text.text)) {
    if (position < match.begin) segments.push_back({position, match.begin, inverted_});
    segments.push_back({match.begin, match.end, !inverted_});
    position = match.end;
  }
  if (position < text.text.size()) segments.push_back({position, text.text.size(), inverted_});
  return emit(text, segments, behavior_, sink);
}

bool WhitespaceWords::split(const TextView& text, const PartSink& sink) const {
  enum class Kind { kSpace, kWord, kOther };
  const auto kind_at = [&](size_t& position) {
    const char32_t c = unicode::decode(text.text, position);
    return unicode::is_word_character(c) ? Kind::kWord : unicode::is_white_space(c) ? Kind::kSpace : Kind::kOther;
  };
  for (size_t begin = 0; begin < text.text.size();) {
    size_t end = begin;
    const Kind kind = kind_at(end);
    for (size_t next = end; next < text.text.size() && kind_at(next) == kind;) end = next;
    if (kind != Kind::kSpace && !sink(text.slice(begin, end))) return false;
    begin = end;
  }
  return true;
}

}  // namespace compression
