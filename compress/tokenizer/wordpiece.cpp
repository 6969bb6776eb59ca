#include "compress/tokenizer/wordpiece.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "compress/tokenizer/unicode.h"
#include "compress/workflow/error.h"

namespace compression {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

size_t special_tokens_in(const SequenceTemplate& pieces) {
  size_t count = 0;
  for (const TemplatePiece& piece : pieces) count += piece.ids.size();
  return count;
}

/// How many tokens the texts may have in all.
size_t room_for_text(const SequenceTemplate& pieces, const EncodeOptions& options) {
  if (options.max_length == 0) return kNoLimit;
  const size_t special = options.add_special_tokens ? special_tokens_in(pieces) : 0;
  if (options.max_length < static_cast<int64_t>(special)) {
    throw ConfigError("max_length: found " + std::to_string(options.max_length) +
                      ", expected 0 (no limit) or at least " + std::to_string(std::max<size_t>(special, 1)) +
                      (special > 0 ? ", the number of special tokens" : ""));
  }
  return static_cast<size_t>(options.max_length) - special;
}

struct PairLengths {
  size_t first;
  size_t second;
};

/// Hugging Face's longest-first: the longer text gives way until both are equal; then both get half of the room, and
/// what is odd goes to the text that was longer, or to the second.
PairLengths truncate_longest_first(PairLengths lengths, size_t room) {
  if (lengths.first + lengths.second <= room) return lengths;
  const bool first_is_longer = lengths.first > lengths.second;
  size_t shorter = std::min(lengths.first, lengths.second);
  size_t longer = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (shorter + longer > room) {
    shorter = room / 2;
    longer = room - shorter;
  }
  return first_is_longer ? PairLengths{longer, shorter} : PairLengths{shorter, longer};
}

AddedTokenMatcher normalized_matcher(const WordPieceConfig& config, const std::optional<BertNormalizer>& normalizer) {
  std::vector<AddedToken> wanted;
  std::unordered_set<std::string> seen;
  for (const AddedToken& token : config.added_tokens) {
    if (!token.normalized) continue;
    wanted.push_back(token);
    std::string& content = wanted.back().content;
    if (normalizer) content = normalizer->normalize(content);
    if (content.empty() || !seen.insert(content).second) {
      throw CheckpointError(config.folder.string() + ": added token \"" + token.content + "\": found " +
                            (content.empty() ? "nothing left of it" : "another added token that is the same") +
                            " after normalisation, expected a text of its own");
    }
  }
  return AddedTokenMatcher(std::move(wanted));
}

AddedTokenMatcher raw_matcher(const std::vector<AddedToken>& tokens) {
  std::vector<AddedToken> wanted;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(wanted),
               [](const AddedToken& token) { return !token.normalized; });
  return AddedTokenMatcher(std::move(wanted));
}

}  // namespace

WordPieceTokenizer::WordPieceTokenizer(WordPieceConfig config)
    : max_characters_per_word_(static_cast<size_t>(config.max_characters_per_word)),
      added_in_text_(raw_matcher(config.added_tokens)),
      single_(std::move(config.single)),
      pair_(std::move(config.pair)),
      pad_id_(config.pad_id),
      folder_(config.folder),
      files_(std::move(config.files)) {
  if (config.normalizer) normalizer_.emplace(*config.normalizer);
  added_in_normalized_ = normalized_matcher(config, normalizer_);

  const auto unknown = std::find_if(config.vocabulary.begin(), config.vocabulary.end(),
                                    [&](const auto& entry) { return entry.first == config.unknown_token; });
  if (unknown == config.vocabulary.end()) {
    throw CheckpointError("vocabulary: found no \"" + config.unknown_token + "\", expected it as the unknown token");
  }
  unknown_id_ = unknown->second;
  for (const auto& [token, id] : config.vocabulary) vocabulary_size_ = std::max<int64_t>(vocabulary_size_, id + 1L);
  for (const AddedToken& token : config.added_tokens) vocabulary_size_ = std::max(vocabulary_size_, token.id + 1);
  trie_ = TokenTrie(std::move(config.vocabulary));
  continuing_ = trie_.find(config.continuing_prefix);

  for (size_t i = 0; i < byte_classes_.size(); ++i) {
    byte_classes_[i] = i >= 0x80                         ? ByteClass::kNotAscii
                       : unicode::is_white_space(i)      ? ByteClass::kSpace
                       : unicode::is_bert_punctuation(i) ? ByteClass::kPunctuation
                                                         : ByteClass::kWord;
  }
}

Encoding WordPieceTokenizer::encode(const TextInput& input, const EncodeOptions& options) const {
  const SequenceTemplate& pieces = input.pair ? pair_ : single_;
  const size_t room = room_for_text(pieces, options);
  Ids first;
  Ids second;
  if (input.pair) {
    append_text(input.text, kNoLimit, first);
    append_text(*input.pair, kNoLimit, second);
    const PairLengths lengths = truncate_longest_first({first.size(), second.size()}, room);
    first.resize(lengths.first);
    second.resize(lengths.second);
  }

  Encoding encoding;
  Ids& ids = encoding.input_ids;
  for (const TemplatePiece& piece : pieces) {
    switch (piece.kind) {
      case TemplatePiece::Kind::kSpecial:
        if (options.add_special_tokens) ids.insert(ids.end(), piece.ids.begin(), piece.ids.end());
        break;
      case TemplatePiece::Kind::kFirst:
        if (input.pair) {
          ids.insert(ids.end(), first.begin(), first.end());
        } else {
          const size_t before = ids.size();
          append_text(input.text, room, ids);
          ids.resize(before + std::min(room, ids.size() - before));
        }
        break;
      case TemplatePiece::Kind::kSecond:
        ids.insert(ids.end(), second.begin(), second.end());
        break;
    }
    encoding.token_type_ids.resize(ids.size(), piece.type_id);
  }
  return encoding;
}

void WordPieceTokenizer::append_text(std::string_view text, size_t limit, Ids& ids) const {
  std::string repaired;
  if (!unicode::is_valid(text)) {
    repaired = unicode::replace_invalid(text);
    text = repaired;
  }
  const size_t end = limit < kNoLimit - ids.size() ? ids.size() + limit : kNoLimit;
  constexpr size_t kBytesPerToken = 4;  // a guess, about right for English
  ids.reserve(ids.size() + std::min(limit, text.size() / kBytesPerToken + 2));
  std::string normalized;
  const auto append_plain = [&](std::string_view plain) {
    if (normalizer_) {
      normalized.clear();
      normalizer_->append(plain, normalized);
      plain = normalized;
    }
    append_normalized(plain, end, ids);
  };
  size_t position = 0;
  for (const AddedTokenMatch& match : added_in_text_.find(text)) {
    if (position < match.begin) append_plain(text.substr(position, match.begin - position));
    ids.push_back(match.id);
    position = match.end;
  }
  if (position < text.size()) append_plain(text.substr(position));
}

void WordPieceTokenizer::append_normalized(std::string_view text, size_t end, Ids& ids) const {
  size_t position = 0;
  if (!added_in_normalized_.empty()) {
    for (const AddedTokenMatch& match : added_in_normalized_.find(text)) {
      if (position < match.begin) append_words(text.substr(position, match.begin - position), end, ids);
      ids.push_back(match.id);
      position = match.end;
    }
  }
  append_words(text.substr(position), end, ids);
}

void WordPieceTokenizer::append_words(std::string_view text, size_t end, Ids& ids) const {
  const size_t size = text.size();
  size_t word = 0;  // where the current word starts
  const auto finish_word = [&](size_t word_end) {
    if (word < word_end) append_word(text.substr(word, word_end - word), ids);
  };
  for (size_t i = 0; i < size && ids.size() < end;) {
    const size_t at = i;
    ByteClass character = byte_classes_[static_cast<unsigned char>(text[i])];
    if (character == ByteClass::kNotAscii) {
      const char32_t c = unicode::decode(text, i);
      character = unicode::is_white_space(c)        ? ByteClass::kSpace
                  : unicode::is_bert_punctuation(c) ? ByteClass::kPunctuation
                                                    : ByteClass::kWord;
    } else {
      ++i;
    }
    if (character == ByteClass::kWord) continue;
    finish_word(at);
    if (character == ByteClass::kPunctuation) append_word(text.substr(at, i - at), ids);
    word = i;
  }
  if (ids.size() < end) finish_word(size);
}

void WordPieceTokenizer::append_word(std::string_view word, Ids& ids) const {
  const size_t before = ids.size();
  bool known = word.size() <= max_characters_per_word_ || unicode::count(word) <= max_characters_per_word_;
  std::optional<TokenTrie::Node> start = TokenTrie::kRoot;
  for (size_t position = 0; known && position < word.size();) {
    TokenTrie::Match piece;
    if (start) piece = trie_.longest_match(*start, word.substr(position));
    known = piece.size > 0;
    if (!known) break;
    ids.push_back(piece.id);
    position += piece.size;
    start = continuing_;
  }
  if (!known) {
    ids.resize(before);
    ids.push_back(unknown_id_);
  }
}

}  // namespace compression
