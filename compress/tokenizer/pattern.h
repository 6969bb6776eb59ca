#pragma once
// What Replace and Split look for: a string, or one of the simple regular expressions that tokenizers use.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer/token_trie.h"

namespace compression {

struct PatternMatch {
  size_t begin;
  size_t end;
};

class Pattern {
 public:
  static Pattern literal(const std::string& text) { return any_of({text}); }

  /// The first of them, in their order, that is there.
  static Pattern any_of(const std::vector<std::string>& texts);

  /// Alternatives of strings of characters: each a character, an escaped one, \s or [set], the last perhaps with + or
  /// {n,} behind it, between \A and \z. Nothing for any other expression, nor for an n above limits::repeats.
  static std::optional<Pattern> regex(std::string_view expression);

  /// In order and without overlap: leftmost first, then the first alternative, greedy. None is empty. The time is that
  /// of the text's length times the expression's, or the longest of any_of().
  std::vector<PatternMatch> find(std::string_view text) const;

 private:
  struct Run {
    std::u32string characters;
    bool white_space = false;  // these too
    size_t least = 1;
    size_t most = 1;
    bool holds(char32_t c) const;
  };
  struct Alternative {
    bool at_start = false;
    bool at_end = false;
    std::vector<Run> runs;
  };

  /// Where a run of an alternative that has no largest size was seen to go on, by alternative: [begin, end).
  using KnownRuns = std::vector<PatternMatch>;

  std::optional<size_t> match(const Alternative& alternative, std::string_view text, size_t position,
                              PatternMatch& known) const;
  std::optional<size_t> match(std::string_view text, size_t position, KnownRuns& known) const;

  std::vector<Alternative> alternatives_;
  TokenTrie literals_;  // of any_of(), in place of alternatives; ids are their places
};

}  // namespace compression
