#include "compress/tokenizer/pattern.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

/// Reads an expression from its start.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool at_end() const { return position_ == text_.size(); }

  bool take(std::string_view token) {
    if (!text_.substr(position_).starts_with(token)) return false;
    position_ += token.size();
    return true;
  }

  char32_t next() { return unicode::decode(text_, position_); }

  std::optional<size_t> number() {
    size_t value = 0;
    const char* begin = text_.data() + position_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc() || value > UINT16_MAX) return std::nullopt;
    position_ += static_cast<size_t>(end - begin);
    return value;
  }

 private:
  std::string_view text_;
  size_t position_ = 0;
};

constexpr std::u32string_view kSpecial = U"\\^$.|?*+()[]{}";

/// The character that an escape stands for, after the backslash.
std::optional<char32_t> escaped(char32_t c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      break;
  }
  const bool has_a_meaning = c < 0x80 && ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  if (has_a_meaning || (c >= '0' && c <= '9')) return std::nullopt;
  return c;
}

}  // namespace

bool Pattern::Run::holds(char32_t c) const {
  return characters.find(c) != std::u32string::npos || (white_space && unicode::is_white_space(c));
}

Pattern Pattern::any_of(const std::vector<std::string>& texts) {
  Pattern pattern;
  for (const std::string& text : texts) {
    if (text.empty()) continue;
    Alternative& alternative = pattern.alternatives_.emplace_back();
    for (size_t i = 0; i < text.size();) alternative.runs.push_back({.characters = {unicode::decode(text, i)}});
  }
  return pattern;
}

std::optional<Pattern> Pattern::regex(std::string_view expression) {
  Reader reader(expression);
  /// One character or escape into `run`.
  const auto take_character = [&](Run& run) {
    if (reader.take("\\s")) {
      run.white_space = true;
      return true;
    }
    const bool is_escape = reader.take("\\");
    if (reader.at_end()) return false;
    const char32_t c = reader.next();
    if (!is_escape && kSpecial.find(c) != std::u32string_view::npos) return false;
    const auto character = is_escape ? escaped(c) : std::optional(c);
    if (!character) return false;
    run.characters += *character;
    return true;
  };

  Pattern pattern;
  pattern.alternatives_.emplace_back();
  while (!reader.at_end()) {
    Alternative& alternative = pattern.alternatives_.back();
    if (reader.take("|")) {
      pattern.alternatives_.emplace_back();
      continue;
    }
    if (alternative.at_end) return std::nullopt;
    if (reader.take("\\A")) {
      if (!alternative.runs.empty()) return std::nullopt;
      alternative.at_start = true;
      continue;
    }
    if (reader.take("\\z")) {
      alternative.at_end = true;
      continue;
    }
    Run run;
    if (reader.take("[")) {
      if (reader.take("^")) return std::nullopt;
      while (!reader.take("]")) {
        if (reader.at_end() || reader.take("[") || reader.take("-") || reader.take("&")) return std::nullopt;
        if (!take_character(run)) return std::nullopt;
      }
    } else if (!take_character(run)) {
      return std::nullopt;
    }
    if (reader.take("+")) {
      run.most = SIZE_MAX;
    } else if (reader.take("{")) {
      const auto least = reader.number();
      if (!least || *least == 0 || !reader.take(",}")) return std::nullopt;
      run.least = *least;
      run.most = SIZE_MAX;
    }
    if (reader.take("?") || reader.take("*") || reader.take("+") || reader.take("{")) return std::nullopt;
    alternative.runs.push_back(std::move(run));
  }
  for (const Alternative& alternative : pattern.alternatives_) {
    if (alternative.runs.empty()) return std::nullopt;
    // Greedy without going back: a run of any length has to be the last one.
    for (size_t i = 0; i + 1 < alternative.runs.size(); ++i) {
      if (alternative.runs[i].most != 1) return std::nullopt;
    }
  }
  return pattern;
}

std::optional<size_t> Pattern::match(const Alternative& alternative, std::string_view text, size_t position) const {
  if (alternative.at_start && position > 0) return std::nullopt;
  for (const Run& run : alternative.runs) {
    size_t count = 0;
    while (position < text.size() && count < run.most) {
      size_t next = position;
      if (!run.holds(unicode::decode(text, next))) break;
      position = next;
      ++count;
    }
    if (count < run.least) return std::nullopt;
  }
  if (alternative.at_end && position < text.size()) return std::nullopt;
  return position;
}

std::vector<PatternMatch> Pattern::find(std::string_view text) const {
  std::vector<PatternMatch> matches;
  for (size_t i = 0; i < text.size();) {
    std::optional<size_t> end;
    for (const Alternative& alternative : alternatives_) {
      if ((end = match(alternative, text, i))) break;
    }
    if (end) {
      matches.push_back({i, *end});
      i = *end;
    } else {
      unicode::decode(text, i);
    }
  }
  return matches;
}

}  // namespace compression
