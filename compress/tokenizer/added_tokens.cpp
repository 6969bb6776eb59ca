#include "compress/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

bool ends_with_word(std::string_view text) {
  return !text.empty() && unicode::is_word_character(unicode::last(text));
}

bool starts_with_word(std::string_view text) {
  size_t position = 0;
  return !text.empty() && unicode::is_word_character(unicode::decode(text, position));
}

std::vector<std::pair<std::string, int32_t>> numbered(const std::vector<AddedToken>& tokens) {
  std::vector<std::pair<std::string, int32_t>> contents;
  for (const AddedToken& token : tokens) contents.emplace_back(token.content, static_cast<int32_t>(contents.size()));
  return contents;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), contents_(numbered(tokens_)) {
  for (const AddedToken& token : tokens_) starts_token_[static_cast<unsigned char>(token.content.front())] = true;
}

std::vector<AddedTokenMatch> AddedTokenMatcher::find(std::string_view text) const {
  std::vector<AddedTokenMatch> matches;
  size_t taken = 0;                       // up to where earlier matches reach
  size_t space_begin = 0, space_end = 0;  // white space that was gone through
  for (size_t i = 0; i < text.size();) {
    TokenTrie::Match match;
    if (starts_token_[static_cast<unsigned char>(text[i])]) {
      match = contents_.longest_match(TokenTrie::kRoot, text.substr(i));
    }
    if (match.size == 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.id)];
    size_t begin = i;
    size_t end = i + match.size;
    i = end;
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token.lstrip) {
      begin = begin > taken ? taken + unicode::trim_end(text.substr(taken, begin - taken)).size() : taken;
    }
    if (token.rstrip) {
      if (end < space_begin || end > space_end) {
        space_begin = end;
        space_end = text.size() - unicode::trim_start(text.substr(end)).size();
      }
      end = space_end;
    }
    if (begin >= end) continue;  // the match before it has taken all of it
    matches.push_back({begin, end, token.id});
    taken = end;
  }
  return matches;
}

}  // namespace compression
