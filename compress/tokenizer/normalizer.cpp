#include "compress/tokenizer/normalizer.h"

#include <algorithm>
#include <utility>

#include "compress/base/error.h"
#include "compress/base/limits.h"
#include "compress/tokenizer/graphemes.h"
#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

/// A character of a new text, as in the transform() of Hugging Face's NormalizedString: 0: it stands for the next
/// character of the old text; 1: it is inserted, and goes with the one before it; -n: it also stands for the n after.
struct Change {
  char32_t character;
  int kind;
};

/// Appends the characters of `changes`, with the places that their kinds give.
void transform(const TextView& text, const std::vector<Change>& changes, AlignedText& result) {
  if (text.sources == nullptr) {
    for (const Change& change : changes) result.put(change.character, text, 0);
    return;
  }
  size_t position = 0;
  for (const Change& change : changes) {
    const size_t at = change.kind > 0 ? std::max<size_t>(position, 1) - 1 : std::min(position, text.text.size() - 1);
    result.put(change.character, text, at);
    for (int i = change.kind; i <= 0 && position < text.text.size(); ++i) unicode::decode(text.text, position);
  }
}

/// Decomposes, sorts marks, and composes where asked, as the crate unicode-normalization-alignments.
class Form {
 public:
  Form(bool compatibility, bool composed) : compatibility_(compatibility), composed_(composed) {}

  std::vector<Change> apply(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
      parts_.clear();
      unicode::decompose_fully(unicode::decode(text, i), compatibility_, parts_);
      for (size_t part = 0; part < parts_.size(); ++part) {
        if (unicode::combining_class(parts_[part]) == 0) sort_marks();
        changes_.push_back({parts_[part], part > 0});
        if (unicode::combining_class(parts_[part]) == 0) marks_ = changes_.size();
      }
    }
    sort_marks();
    if (composed_) compose();
    return std::move(changes_);
  }

 private:
  /// Canonical order for the marks at the end, from marks_ on.
  void sort_marks() {
    std::stable_sort(changes_.begin() + static_cast<std::ptrdiff_t>(marks_), changes_.end(),
                     [](const Change& a, const Change& b) {
                       return unicode::combining_class(a.character) < unicode::combining_class(b.character);
                     });
    marks_ = changes_.size();
  }

  void compose() {
    std::vector<Change> result;
    size_t starter = SIZE_MAX;  // place in result of the character that marks may join
    int last_class = -1;        // of the mark behind it that has not joined; -1: none
    for (const Change& change : changes_) {
      const uint8_t combining_class = unicode::combining_class(change.character);
      if (starter != SIZE_MAX && last_class < combining_class) {
        if (const auto joined = unicode::compose(result[starter].character, change.character)) {
          result[starter] = {*joined, result[starter].kind + change.kind - 1};
          continue;
        }
      }
      if (combining_class == 0) {
        starter = result.size();
        last_class = -1;
      } else if (starter != SIZE_MAX) {
        last_class = combining_class;
      }
      result.push_back(change);
    }
    changes_ = std::move(result);
  }

  bool compatibility_;
  bool composed_;
  std::vector<Change> changes_;
  std::vector<char32_t> parts_;
  size_t marks_ = 0;  // where the run of marks at the end of changes_ begins
};

bool is_all_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), unicode::is_ascii);
}

}  // namespace

std::string Normalizer::normalize(std::string_view text) const {
  AlignedText result = {.most_bytes = longest_normalized(text.size())};
  append({text}, result);
  return result.text;
}

void NormalizerSequence::append(const TextView& text, AlignedText& result) const {
  AlignedText current = {.most_bytes = result.most_bytes};
  AlignedText next = current;
  TextView view = text;
  for (size_t i = 0; i + 1 < steps_.size(); ++i) {
    next.clear();
    steps_[i]->append(view, next);
    std::swap(current, next);
    view = current.view();
    if (view.text.empty()) return;
  }
  if (steps_.empty()) return result.copy(text, 0, text.text.size());
  steps_.back()->append(view, result);
}

void UnicodeForm::append(const TextView& text, AlignedText& result) const {
  if (is_all_ascii(text.text)) return result.copy(text, 0, text.text.size());
  transform(text, Form(compatibility_, composed_).apply(text.text), result);
}

void Lowercase::append(const TextView& text, AlignedText& result) const {
  for (size_t i = 0; i < text.text.size();) {
    const size_t at = i;
    const unicode::Sequence lower = unicode::lowercase(unicode::decode(text.text, i));
    for (int k = 0; k < lower.size; ++k) result.put(lower.code_points[k], text, at);
  }
}

void StripAccents::append(const TextView& text, AlignedText& result) const {
  for (size_t i = 0; i < text.text.size();) {
    const size_t at = i;
    const char32_t c = unicode::decode(text.text, i);
    if (!unicode::is_combining_mark(c)) result.put(c, text, at);
  }
}

void Strip::append(const TextView& text, AlignedText& result) const {
  const std::string_view left = left_ ? unicode::trim_start(text.text) : text.text;
  const size_t begin = text.text.size() - left.size();
  result.copy(text, begin, begin + (right_ ? unicode::trim_end(left) : left).size());
}

void Replace::append(const TextView& text, AlignedText& result) const {
  size_t position = 0;
  for (const PatternMatch& match : pattern_.find(text.text)) {
    result.copy(text, position, match.begin);
    for (size_t i = 0; i < content_.size();) result.put(unicode::decode(content_, i), text, match.end - 1);
    position = match.end;
  }
  result.copy(text, position, text.text.size());
}

void Prepend::append(const TextView& text, AlignedText& result) const {
  if (text.text.empty()) return;
  for (size_t i = 0; i < prefix_.size();) result.put(unicode::decode(prefix_, i), text, 0);
  result.copy(text, 0, text.text.size());
}

void Nmt::append(const TextView& text, AlignedText& result) const {
  for (size_t i = 0; i < text.text.size();) {
    const size_t at = i;
    const char32_t c = unicode::decode(text.text, i);
    if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) continue;
    const bool is_space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                          c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    result.put(is_space ? U' ' : c, text, at);
  }
}

Precompiled::Precompiled(std::string_view charsmap, const std::string& place) {
  const auto refuse = [&](const std::string& found) {
    throw CheckpointError(place + ": found " + found + ", expected a table of characters");
  };
  const auto word = [&](size_t offset) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) {
      value |= static_cast<uint32_t>(static_cast<unsigned char>(charsmap[offset + i])) << (8 * i);
    }
    return value;
  };
  if (charsmap.size() < 4) refuse(std::to_string(charsmap.size()) + " bytes");
  const size_t size = word(0);
  if (size % 4 != 0 || size == 0 || size > charsmap.size() - 4) {
    refuse("a trie of " + std::to_string(size) + " in " + std::to_string(charsmap.size()) + " bytes");
  }
  for (size_t i = 0; i < size; i += 4) trie_.push_back(word(4 + i));
  replacements_ = charsmap.substr(4 + size);
  for (size_t begin = 0; begin < replacements_.size();) {
    const size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    if (end - begin > limits::token_bytes) refuse("a replacement of " + std::to_string(end - begin) + " bytes");
    begin = end + 1;
  }
  if (!unicode::is_valid(replacements_)) refuse("replacements that are not UTF-8");
}

/// What the shortest beginning of `text` in the table becomes, or null (a walk through darts-clone's double array).
const char* Precompiled::find(std::string_view text) const {
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); };
  size_t node = offset(trie_[0]);
  for (const char byte : text) {
    const auto label = static_cast<unsigned char>(byte);
    node ^= label;
    if (label == 0 || node >= trie_.size()) return nullptr;
    const uint32_t unit = trie_[node];
    if ((unit & ((1U << 31) | 0xFF)) != label) return nullptr;
    node ^= offset(unit);
    if (((unit >> 8) & 1) == 0) continue;
    if (node >= trie_.size()) return nullptr;
    const size_t replacement = trie_[node] & ((1U << 31) - 1);
    return replacement < replacements_.size() ? replacements_.c_str() + replacement : nullptr;
  }
  return nullptr;
}

void Precompiled::append(const TextView& text, AlignedText& result) const {
  constexpr size_t kLongest = 6;  // of a cluster that is looked up whole, as in Hugging Face tokenizers
  std::vector<Change> changes;
  const auto replace = [&](std::string_view old_part, const char* replacement) {
    const std::string_view new_part = replacement;
    const size_t first = changes.size();
    result.check(first);  // a byte each, or more
    for (size_t i = 0; i < new_part.size();) changes.push_back({unicode::decode(new_part, i), 0});
    const auto added = static_cast<int>(changes.size() - first);
    const int difference = added - static_cast<int>(unicode::count(old_part));
    for (int i = 0; i < difference; ++i) changes[changes.size() - 1 - static_cast<size_t>(i)].kind = 1;
    if (difference < 0 && !changes.empty()) changes.back().kind += difference;
  };
  for (size_t i = 0; i < text.text.size();) {
    const std::string_view cluster = first_grapheme(text.text.substr(i));
    i += cluster.size();
    const char* whole = cluster.size() < kLongest ? find(cluster) : nullptr;
    if (whole != nullptr) {
      replace(cluster, whole);
      continue;
    }
    for (size_t k = 0; k < cluster.size();) {
      const size_t begin = k;
      const char32_t c = unicode::decode(cluster, k);
      const std::string_view character = cluster.substr(begin, k - begin);
      if (const char* part = find(character)) {
        replace(character, part);
      } else {
        changes.push_back({c, 0});
      }
    }
  }
  transform(text, changes, result);
}

}  // namespace compression
