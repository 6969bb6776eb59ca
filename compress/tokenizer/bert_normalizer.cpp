#include "compress/tokenizer/bert_normalizer.h"

#include <algorithm>
#include <vector>

#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

// The blocks that BERT calls Chinese. 2B820 to 2B91F is left out as in Hugging Face's list.
bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_kept_space(char32_t c) {
  return c == '\t' || c == '\n' || c == '\r';
}

bool is_cleaned_away(char32_t c) {
  return !is_kept_space(c) && (c == 0 || c == unicode::kReplacement || unicode::is_other(c));
}

/// Takes code points one by one through decomposition, canonical order, mark removal and lower case.
class Writer {
 public:
  Writer(const BertNormalizerOptions& options, const TextView& text, AlignedText& result)
      : options_(options), text_(text), result_(result) {}

  /// `c` stands for the character at byte `at` of the text.
  void put(char32_t c, size_t at) {
    if (!options_.strip_accents) return write(c, at);
    const unicode::Sequence parts = unicode::decompose(c);
    for (int i = 0; i < parts.size; ++i) {
      const char32_t part = parts.code_points[i];
      if (const uint8_t combining_class = unicode::combining_class(part); combining_class != 0) {
        marks_.push_back({part, at, combining_class, i > 0});
      } else {
        flush();
        write(part, at);
      }
    }
  }

  /// Writes the combining characters that waited for the end of their run, in canonical order. Those that are
  /// characters of the text share out its places in their new order, and the others go with the one before, as Hugging
  /// Face's alignment has it.
  void flush() {
    if (marks_.empty()) return;
    places_.clear();
    for (const Mark& mark : marks_) {
      if (!mark.inserted) places_.push_back(mark.at);
    }
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    size_t at = marks_.front().at;
    auto place = places_.begin();
    for (const Mark& mark : marks_) {
      if (!mark.inserted) at = *place++;
      write(mark.code_point, at);
    }
    marks_.clear();
  }

 private:
  struct Mark {
    char32_t code_point;
    size_t at;
    uint8_t combining_class;
    bool inserted;
  };

  void write(char32_t c, size_t at) {
    if (options_.strip_accents && unicode::is_nonspacing_mark(c)) return;
    if (!options_.lowercase) return result_.put(c, text_, at);
    const unicode::Sequence lower = unicode::lowercase(c);
    for (int i = 0; i < lower.size; ++i) result_.put(lower.code_points[i], text_, at);
  }

  const BertNormalizerOptions& options_;
  const TextView& text_;
  AlignedText& result_;
  std::vector<Mark> marks_;
  std::vector<size_t> places_;
};

}  // namespace

BertNormalizer::BertNormalizer(const BertNormalizerOptions& options) : options_(options) {
  for (size_t i = 0; i < ascii_.size(); ++i) {
    char c = static_cast<char>(i);
    const bool kept = !(options.clean_text && is_cleaned_away(i));
    if (options.clean_text && is_kept_space(i)) c = ' ';
    if (options.lowercase && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    ascii_[i] = {c, kept};
  }
}

void BertNormalizer::append(const TextView& text, AlignedText& result) const {
  const std::string_view bytes = text.text;
  Writer writer(options_, text, result);
  for (size_t i = 0; i < bytes.size();) {
    if (unicode::is_ascii(bytes[i])) {
      if (!ascii_[static_cast<unsigned char>(bytes[i])].kept) {  // marks on either side of it come together
        ++i;
        continue;
      }
      writer.flush();
      const size_t begin = i;
      size_t end = i + 1;
      while (end < bytes.size() && unicode::is_ascii(bytes[end])) ++end;
      const size_t size = result.text.size();
      result.text.resize(size + end - begin);
      char* target = result.text.data() + size;
      for (; i < end; ++i) {
        const AsciiCharacter& character = ascii_[static_cast<unsigned char>(bytes[i])];
        *target = character.replacement;
        target += character.kept;
      }
      result.text.resize(static_cast<size_t>(target - result.text.data()));
      for (i = begin; text.sources != nullptr && i < end; ++i) {
        if (ascii_[static_cast<unsigned char>(bytes[i])].kept) result.sources.push_back(text.sources[i]);
      }
      i = end;
      continue;
    }
    const size_t at = i;
    char32_t c = unicode::decode(bytes, i);
    if (options_.clean_text) {
      if (is_cleaned_away(c)) continue;
      if (unicode::is_white_space(c)) c = ' ';
    }
    const bool isolated = options_.handle_chinese_chars && is_chinese(c);
    if (isolated) writer.put(' ', at);
    writer.put(c, at);
    if (isolated) writer.put(' ', at);
  }
  writer.flush();
}

}  // namespace compression
