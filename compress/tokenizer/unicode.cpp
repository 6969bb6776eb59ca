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

struct Range {
  char32_t first;
  char32_t last;
};

// The letters and numbers that have come since Unicode 14, which an older ICU does not know.
constexpr Range kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x1123F, 0x11240}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3},
    {0x11BC0, 0x11BE0}, {0x11F02, 0x11F02}, {0x11F04, 0x11F10}, {0x11F12, 0x11F33}, {0x1342F, 0x1342F},
    {0x13441, 0x13446}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF},
    {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E4D0, 0x1E4EB},
    {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0}, {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};
constexpr Range kNewNumbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x11F50, 0x11F59},
                                 {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1D2C0, 0x1D2D3},
                                 {0x1E4F0, 0x1E4F9}, {0x1E5F1, 0x1E5FA}};
// Those that \w of a regular expression holds, marks among them.
constexpr Range kNewWordCharacters[] = {
    {0x897, 0x897},     {0xCF3, 0xCF3},     {0xECE, 0xECE},     {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},
    {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFF}, {0x1123F, 0x11241}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5},
    {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2}, {0x116D0, 0x116E3}, {0x11BC0, 0x11BE0},
    {0x11BF0, 0x11BF9}, {0x11F00, 0x11F10}, {0x11F12, 0x11F3A}, {0x11F3E, 0x11F42}, {0x11F50, 0x11F5A},
    {0x1342F, 0x1342F}, {0x13440, 0x13455}, {0x13460, 0x143FA}, {0x16100, 0x16139}, {0x16D40, 0x16D6C},
    {0x16D70, 0x16D79}, {0x18CFF, 0x18CFF}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1CCF0, 0x1CCF9},
    {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E4D0, 0x1E4F9}, {0x1E5D0, 0x1E5FA},
    {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};
constexpr Range kNumbersOfUnicode17[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

template <size_t N>
bool is_in(const Range (&ranges)[N], char32_t c) {
  for (const Range& range : ranges) {
    if (c >= range.first && c <= range.last) return true;
  }
  return false;
}

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
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL) ||
         (c >= kNewWordCharacters[0].first && is_in(kNewWordCharacters, c));
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

void decompose_fully(char32_t c, bool compatibility, std::vector<char32_t>& result) {
  constexpr int32_t kLongest = 36;  // in UTF-16; the longest is 18 (U+FDFA)
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* form = compatibility ? unorm2_getNFKDInstance(&status) : canonical_decomposition();
  std::array<UChar, kLongest> units;
  const int32_t size = c < 0xC0 && !compatibility
                           ? -1
                           : unorm2_getDecomposition(form, static_cast<UChar32>(c), units.data(), kLongest, &status);
  if (size < 0 || !is_in(kDecomposition, c)) {
    result.push_back(c);
    return;
  }
  for (int32_t i = 0; i < size;) {
    UChar32 part;
    U16_NEXT_UNSAFE(units.data(), i, part);
    result.push_back(static_cast<char32_t>(part));
  }
}

std::optional<char32_t> compose(char32_t first, char32_t second) {
  UErrorCode status = U_ZERO_ERROR;
  const UChar32 c =
      unorm2_composePair(unorm2_getNFCInstance(&status), static_cast<UChar32>(first), static_cast<UChar32>(second));
  if (c < 0 || !is_in(kDecomposition, static_cast<char32_t>(c))) return std::nullopt;
  return static_cast<char32_t>(c);
}

bool is_letter(char32_t c) {
  if ((U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0) return is_in(Version{16, 0}, c);
  return c >= kNewLetters[0].first && is_in(kNewLetters, c);
}

bool is_number(char32_t c) {
  if ((U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0) return is_in(Version{16, 0}, c);
  return c >= kNewNumbers[0].first && is_in(kNewNumbers, c);
}

bool is_numeric(char32_t c) {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0 || is_number(c) || is_in(kNumbersOfUnicode17, c);
}

bool is_combining_mark(char32_t c) {
  if (c == 0x111C9) return false;               // became one in Unicode 11
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // letters since Unicode 12
  return c >= 0x300 && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0 && is_in(kDecomposition, c);
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
