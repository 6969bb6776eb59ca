#include "compress/tokenizer/pattern.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>

#include "compress/base/limits.h"
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
  std::map<std::string, int32_t> places;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].empty()) places.emplace(texts[i], static_cast<int32_t>(i));
  }
  Pattern pattern;
  pattern.literals_ = TokenTrie({places.begin(), places.end()});
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
      if (!least || *least == 0 || *least > limits::repeats || !reader.take(",}")) return std::nullopt;
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

std::optional<size_t> Pattern::match(const Alternative& alternative, std::string_view text, size_t position,
                                     PatternMatch& known) const {
  if (alternative.at_start && position > 0) return std::nullopt;
  for (const Run& run : alternative.runs) {
    const size_t begin = position;
    size_t count = 0;
    while (position < text.size() && count < run.most) {
      if (count >= run.least && known.begin <= position && position < known.end) {  // as was seen from further left
        position = known.end;
        break;
      }
      size_t next = position;
      if (!run.holds(unicode::decode(text, next))) break;
      position = next;
      ++count;
    }
    if (run.most > 1 && known.end < position) known = {begin, position};
    if (count < run.least) return std::nullopt;
  }
  if (alternative.at_end && position < text.size()) return std::nullopt;
  return position;
}

std::optional<size_t> Pattern::match(std::string_view text, size_t position, KnownRuns& known) const {
  for (size_t i = 0; i < alternatives_.size(); ++i) {
    if (const auto end = match(alternatives_[i], text, position, known[i])) return end;
  }
  std::optional<size_t> end;
  int32_t first = INT32_MAX;
  literals_.for_each_match(text.substr(position), [&](size_t size, int32_t place) {
    if (place < first) {
      first = place;
      end = position + size;
    }
  });
  return end;
}

std::vector<PatternMatch> Pattern::find(std::string_view text) const {
  std::vector<PatternMatch> matches;
  KnownRuns known(alternatives_.size());
  for (size_t i = 0; i < text.size();) {
    if (const auto end = match(text, i, known)) {
      matches.push_back({i, *end});
      i = *end;
    } else {
      unicode::decode(text, i);
    }
  }
  return matches;
}

}  // namespace compression
