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
  Writer(const BertNormalizerOptions& options, std::string& result) : options_(options), result_(result) {}

  void put(char32_t c) {
    if (!options_.strip_accents) return write(c);
    const unicode::Sequence parts = unicode::decompose(c);
    for (int i = 0; i < parts.size; ++i) {
      const char32_t part = parts.code_points[i];
      if (const uint8_t combining_class = unicode::combining_class(part); combining_class != 0) {
        marks_.push_back({part, combining_class});
      } else {
        flush();
        write(part);
      }
    }
  }

  /// Writes the combining characters that waited for the end of their run, in canonical order.
  void flush() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    for (const Mark& mark : marks_) write(mark.code_point);
    marks_.clear();
  }

 private:
  struct Mark {
    char32_t code_point;
    uint8_t combining_class;
  };

  void write(char32_t c) {
    if (options_.strip_accents && unicode::is_nonspacing_mark(c)) return;
    if (!options_.lowercase) return unicode::append(c, result_);
    const unicode::Sequence lower = unicode::lowercase(c);
    for (int i = 0; i < lower.size; ++i) unicode::append(lower.code_points[i], result_);
  }

  const BertNormalizerOptions& options_;
  std::string& result_;
  std::vector<Mark> marks_;
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

void BertNormalizer::append(std::string_view text, std::string& result) const {
  Writer writer(options_, result);
  for (size_t i = 0; i < text.size();) {
    if (unicode::is_ascii(text[i])) {
      if (!ascii_[static_cast<unsigned char>(text[i])].kept) {  // marks on either side of it come together
        ++i;
        continue;
      }
      writer.flush();
      size_t end = i + 1;
      while (end < text.size() && unicode::is_ascii(text[end])) ++end;
      const size_t size = result.size();
      result.resize(size + end - i);
      char* target = result.data() + size;
      for (; i < end; ++i) {
        const AsciiCharacter& character = ascii_[static_cast<unsigned char>(text[i])];
        *target = character.replacement;
        target += character.kept;
      }
      result.resize(static_cast<size_t>(target - result.data()));
      continue;
    }
    char32_t c = unicode::decode(text, i);
    if (options_.clean_text) {
      if (is_cleaned_away(c)) continue;
      if (unicode::is_white_space(c)) c = ' ';
    }
    const bool isolated = options_.handle_chinese_chars && is_chinese(c);
    if (isolated) writer.put(' ');
    writer.put(c);
    if (isolated) writer.put(' ');
  }
  writer.flush();
}

std::string BertNormalizer::normalize(std::string_view text) const {
  std::string result;
  append(text, result);
  return result;
}

}  // namespace compression
