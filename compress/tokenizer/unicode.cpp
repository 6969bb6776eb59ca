#include "compress/tokenizer/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <array>
#include <compare>

namespace compression::unicode {
namespace {

struct Version {
  int major;
  int minor;
  auto operator<=>(const Version&) const = default;
};

constexpr Version kCategories{8, 0};
constexpr Version kDecomposition{9, 0};

/// Whether `c` was assigned in this version of Unicode.
bool is_in(Version version, char32_t c) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return Version{age[0], age[1]} <= version;
}

/// The mask of the general category that `c` had in Unicode 8.
uint32_t category_mask(char32_t c) {
  switch (c) {  // all whose category has changed since
    case 0x166D:
    case 0x111C9:
      return U_GC_PO_MASK;
    case 0x1734:
      return U_GC_MN_MASK;
    case 0x1885:
    case 0x1886:
      return U_GC_LO_MASK;
    case 0xA9BD:
      return U_GC_MC_MASK;
    default:
      return U_GET_GC_MASK(static_cast<UChar32>(c));
  }
}

bool has_category(char32_t c, uint32_t mask) {
  return (category_mask(c) & mask) != 0 && is_in(kCategories, c);
}

struct CaseRange {
  char32_t first;
  char32_t last;
  char32_t first_lower;
  int step;
};

// The capital letters of Unicode 16 and 17, which ICU before 78 does not know.
constexpr std::array kNewCapitals = {
    CaseRange{0x1C89, 0x1C89, 0x1C8A, 1},    CaseRange{0xA7CB, 0xA7CB, 0x0264, 1},
    CaseRange{0xA7CC, 0xA7CE, 0xA7CD, 2},    CaseRange{0xA7D2, 0xA7D4, 0xA7D3, 2},
    CaseRange{0xA7DA, 0xA7DA, 0xA7DB, 1},    CaseRange{0xA7DC, 0xA7DC, 0x019B, 1},
    CaseRange{0x10D50, 0x10D65, 0x10D70, 1}, CaseRange{0x16EA0, 0x16EB8, 0x16EBB, 1},
};

const UNormalizer2* canonical_decomposition() {
  UErrorCode status = U_ZERO_ERROR;
  return unorm2_getNFDInstance(&status);  // its data is compiled into ICU: it cannot be missing
}

}  // namespace

char32_t decode(std::string_view text, size_t& position) {
  UChar32 c;
  U8_NEXT_UNSAFE(text.data(), position, c);
  return static_cast<char32_t>(c);
}

char32_t decode_any(std::string_view text, size_t& position) {
  const size_t size = text.size();
  UChar32 c;
  U8_NEXT(text.data(), position, size, c);
  return c < 0 ? kReplacement : static_cast<char32_t>(c);
}

void append(char32_t code_point, std::string& text) {
  char bytes[U8_MAX_LENGTH];
  size_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, code_point);
  text.append(bytes, size);
}

size_t count(std::string_view text) {
  size_t code_points = 0;
  for (char byte : text) code_points += !U8_IS_TRAIL(byte);
  return code_points;
}

bool is_valid(std::string_view text) {
  const size_t size = text.size();
  for (size_t i = 0; i < size;) {
    if (is_ascii(text[i])) {
      ++i;
      continue;
    }
    UChar32 c;
    U8_NEXT(text.data(), i, size, c);
    if (c < 0) return false;
  }
  return true;
}

std::string replace_invalid(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) append(decode_any(text, i), result);
  return result;
}

bool is_white_space(char32_t c) {
  return u_isUWhiteSpace(static_cast<UChar32>(c));
}

std::string_view trim_start(std::string_view text) {
  size_t position = 0;
  size_t start = 0;
  while (position < text.size() && is_white_space(decode(text, position))) start = position;
  return text.substr(start);
}

std::string_view trim_end(std::string_view text) {
  while (!text.empty() && is_white_space(last(text))) {
    while (U8_IS_TRAIL(text.back())) text.remove_suffix(1);
    text.remove_suffix(1);
  }
  return text;
}

char32_t last(std::string_view text) {
  size_t position = text.size() - 1;
  while (U8_IS_TRAIL(text[position])) --position;
  return decode(text, position);
}

bool is_word_character(char32_t c) {
  const auto point = static_cast<UChar32>(c);
  return (U_GET_GC_MASK(point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 || u_isUAlphabetic(point) ||
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL);
}

bool is_other(char32_t c) {
  return has_category(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK);
}

bool is_bert_punctuation(char32_t c) {
  if (c < 0x80) return c > ' ' && c < 0x7F && !u_isalnum(static_cast<UChar32>(c));
  return has_category(c, U_GC_P_MASK);
}

bool is_nonspacing_mark(char32_t c) {
  return has_category(c, U_GC_MN_MASK);
}

uint8_t combining_class(char32_t c) {
  const uint8_t value = u_getCombiningClass(static_cast<UChar32>(c));
  return value != 0 && is_in(kDecomposition, c) ? value : 0;
}

Sequence decompose(char32_t c) {
  std::array<UChar, 2 * std::size(Sequence{}.code_points)> units;
  UErrorCode status = U_ZERO_ERROR;
  const int32_t size = unorm2_getDecomposition(canonical_decomposition(), static_cast<UChar32>(c), units.data(),
                                               static_cast<int32_t>(units.size()), &status);
  if (size < 0 || !is_in(kDecomposition, c)) return {{c}, 1};
  Sequence result;
  for (int32_t i = 0; i < size;) {
    UChar32 part;
    U16_NEXT_UNSAFE(units.data(), i, part);
    result.code_points[result.size++] = static_cast<char32_t>(part);
  }
  return result;
}

Sequence lowercase(char32_t c) {
  if (c == 0x130) return {{'i', 0x307}, 2};  // the one lower case of several code points
  const auto lower = static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
  if (lower != c || c < kNewCapitals.front().first) return {{lower}, 1};
  for (const CaseRange& range : kNewCapitals) {
    if (c >= range.first && c <= range.last && (c - range.first) % range.step == 0) {
      return {{range.first_lower + (c - range.first)}, 1};
    }
  }
  return {{c}, 1};
}

}  // namespace compression::unicode
