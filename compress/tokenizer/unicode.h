#pragma once
// UTF-8 and the character classes that Hugging Face tokenizers see.
//
// Their Rust crates are of different ages, so each property below is that of one Unicode version, whichever ICU is
// installed: categories as of Unicode 8 (unicode_categories 0.1), decomposition as of Unicode 9
// (unicode-normalization-alignments 0.1), lower case as of Unicode 17 (Rust's standard library).
// tests/goldens/tokenizer/compare.py holds all of them against the real thing, for every code point.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace compression::unicode {

constexpr char32_t kReplacement = 0xFFFD;

/// At most four code points: the longest canonical decomposition, and longer than any lower case.
struct Sequence {
  char32_t code_points[4];
  int size = 0;
};

inline bool is_ascii(char byte) {
  return static_cast<unsigned char>(byte) < 0x80;
}

/// The code point at `position`, which is moved behind it. `text` is valid UTF-8.
char32_t decode(std::string_view text, size_t& position);

/// The same for any bytes: U+FFFD for a maximal ill-formed part, which `position` is moved behind.
char32_t decode_any(std::string_view text, size_t& position);

void append(char32_t code_point, std::string& text);

/// The number of code points in valid UTF-8.
size_t count(std::string_view text);

bool is_valid(std::string_view text);

/// U+FFFD for each maximal ill-formed part, as Python's bytes.decode(errors="replace").
std::string replace_invalid(std::string_view text);

/// White_Space.
bool is_white_space(char32_t c);

/// Without the white space at its start, or its end. `text` is valid UTF-8.
std::string_view trim_start(std::string_view text);
std::string_view trim_end(std::string_view text);

/// The last code point of `text`, which is valid UTF-8 and not empty.
char32_t last(std::string_view text);

/// \w of Rust's regex: Alphabetic, M, Nd, Pc, Join_Control.
bool is_word_character(char32_t c);

/// Categories Cc, Cf, Cs, Co of Unicode 8; not Cn.
bool is_other(char32_t c);

/// Category P* of Unicode 8, or any ASCII character that is neither letter, digit, space nor control.
bool is_bert_punctuation(char32_t c);

/// Category Mn of Unicode 8.
bool is_nonspacing_mark(char32_t c);

/// Canonical combining class of Unicode 9.
uint8_t combining_class(char32_t c);

/// Full canonical decomposition of one code point, as of Unicode 9.
Sequence decompose(char32_t c);

/// Appends the full decomposition of one code point, canonical or with compatibility mappings, as of Unicode 9.
void decompose_fully(char32_t c, bool compatibility, std::vector<char32_t>& result);

/// What two code points compose to (canonical composition of Unicode 9), if anything.
std::optional<char32_t> compose(char32_t first, char32_t second);

/// Category M of Unicode 9.
bool is_combining_mark(char32_t c);

/// Category L, or N, of Unicode 16, as the regular expressions of tokenizers see them.
bool is_letter(char32_t c);
bool is_number(char32_t c);

/// Category N of Unicode 17, as Rust's char::is_numeric.
bool is_numeric(char32_t c);

/// Lower case of one code point without regard to its neighbours (no final sigma), as Rust's char::to_lowercase.
Sequence lowercase(char32_t c);

}  // namespace compression::unicode
