#include "compress/tokenizer/template.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "compress/base/error.h"
#include "compress/base/limits.h"  // windows_growth, windows_extra

namespace compression {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

size_t special_tokens_in(const SequenceTemplate& pieces) {
  size_t count = 0;
  for (const TemplatePiece& piece : pieces) count += piece.ids.size();
  return count;
}

struct PairLengths {
  size_t first;
  size_t second;
};

/// Hugging Face's longest-first: the longer text gives way until both are equal; then both get half of the room, and
/// what is odd goes to the text that was longer, or to the second.
PairLengths truncate_longest_first(PairLengths lengths, size_t room) {
  const bool first_is_longer = lengths.first > lengths.second;
  size_t shorter = std::min(lengths.first, lengths.second);
  size_t longer = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (shorter + longer > room) {
    shorter = room / 2;
    longer = room - shorter;
  }
  return first_is_longer ? PairLengths{longer, shorter} : PairLengths{shorter, longer};
}

/// What is left of the text that is cut, where the other has `other` tokens.
size_t room_beside(size_t other, size_t room, const EncodeOptions& options) {
  if (other < room) return room - other;
  throw ConfigError("max_length: found " + std::to_string(options.max_length) + ", expected more than " +
                    std::to_string(options.max_length - static_cast<int64_t>(room) + static_cast<int64_t>(other)) +
                    ", the special tokens and the text that may not be truncated");
}

PairLengths truncate(PairLengths lengths, bool is_pair, size_t room, const EncodeOptions& options) {
  if (lengths.first + lengths.second <= room) return lengths;
  if (room == 0) return {0, 0};
  switch (options.truncation) {
    case Truncation::kLongestFirst:
      return is_pair ? truncate_longest_first(lengths, room) : PairLengths{room, 0};
    case Truncation::kOnlyFirst:
      return {room_beside(lengths.second, room, options), lengths.second};
    case Truncation::kOnlySecond:
      break;
  }
  if (!is_pair) throw ConfigError("truncation: found the second text to be cut, expected a pair of texts");
  return {lengths.first, room_beside(lengths.first, room, options)};
}

template <class Value>
void append_range(const std::vector<Value>& from, TokenRange range, std::vector<Value>& to) {
  to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(range.begin),
            from.begin() + static_cast<std::ptrdiff_t>(range.end));
}

}  // namespace

EncodingTemplate::EncodingTemplate(SequenceTemplate single, SequenceTemplate pair, std::optional<OffsetTrim> trim)
    : single_(std::move(single)), pair_(std::move(pair)), trim_(trim) {}

EncodingTemplate::EncodingTemplate() : EncodingTemplate({first_piece(0)}, {first_piece(0), second_piece(1)}) {}

EncodingTemplate EncodingTemplate::bert(int64_t cls, int64_t sep) {
  return {{special_piece({cls}, 0), first_piece(0), special_piece({sep}, 0)},
          {special_piece({cls}, 0), first_piece(0), special_piece({sep}, 0), second_piece(1), special_piece({sep}, 1)}};
}

EncodingTemplate EncodingTemplate::roberta(int64_t cls, int64_t sep, std::optional<OffsetTrim> trim) {
  return {
      {special_piece({cls}, 0), first_piece(0), special_piece({sep}, 0)},
      {special_piece({cls}, 0), first_piece(0), special_piece({sep, sep}, 0), second_piece(0), special_piece({sep}, 0)},
      trim};
}

void EncodingTemplate::drop_types() {
  for (auto* pieces : {&single_, &pair_}) {
    for (TemplatePiece& piece : *pieces) piece.type_id = 0;
  }
}

size_t EncodingTemplate::room(bool is_pair, const EncodeOptions& options) const {
  if (options.max_length == 0) return kNoLimit;
  const size_t special = options.add_special_tokens ? special_tokens_in(pieces(is_pair)) : 0;
  if (options.max_length < static_cast<int64_t>(special)) {
    throw ConfigError("max_length: found " + std::to_string(options.max_length) +
                      ", expected 0 (no limit) or at least " + std::to_string(std::max<size_t>(special, 1)) +
                      (special > 0 ? ", the number of special tokens" : ""));
  }
  return static_cast<size_t>(options.max_length) - special;
}

Encoding EncodingTemplate::encode(const TokenSequence& first, const TokenSequence* second,
                                  const EncodeOptions& options) const {
  const bool is_pair = second != nullptr;
  const PairLengths lengths =
      truncate({first.ids.size(), is_pair ? second->ids.size() : 0}, is_pair, room(is_pair, options), options);
  return assemble(first, {0, lengths.first}, second, {0, lengths.second}, options);
}

std::vector<Encoding> EncodingTemplate::windows(const TokenSequence& first, const TokenSequence* second,
                                                const EncodeOptions& options, int64_t stride) const {
  if (stride < 0) throw ConfigError("stride: found " + std::to_string(stride) + ", expected 0 or more");
  const bool is_pair = second != nullptr;
  if (is_pair && options.truncation == Truncation::kLongestFirst) {
    throw ConfigError("truncation: found longest-first for windows over a pair, expected the text that is cut");
  }
  const PairLengths whole = {first.ids.size(), is_pair ? second->ids.size() : 0};
  const PairLengths lengths = truncate(whole, is_pair, room(is_pair, options), options);
  const bool cuts_second = lengths.second < whole.second;
  const size_t total = cuts_second ? whole.second : whole.first;
  const size_t size = cuts_second ? lengths.second : lengths.first;
  if (size < total && static_cast<size_t>(stride) >= size) {
    throw ConfigError("stride: found " + std::to_string(stride) + ", expected less than " + std::to_string(size) +
                      ", the tokens of a window");
  }
  const size_t step = size - std::min(static_cast<size_t>(stride), size);
  const size_t count = size < total ? (total - size + step - 1) / step + 1 : 1;
  const size_t each = size + (cuts_second ? whole.first : whole.second),
               most = limits::windows_growth * total + limits::windows_extra;
  if (count > most / std::max<size_t>(each, 1)) {
    throw ConfigError(
        fmt::format("stride: found {}, with which {} tokens make {} windows of {}; expected at most {} tokens in all "
                    "windows of a text",
                    stride, total, count, each, most));
  }
  std::vector<Encoding> encodings;
  for (size_t begin = 0;; begin += step) {
    const TokenRange window = {begin, std::min(begin + size, total)};
    encodings.push_back(cuts_second ? assemble(first, {0, whole.first}, second, window, options)
                                    : assemble(first, window, second, {0, whole.second}, options));
    if (window.end == total) return encodings;
  }
}

Encoding EncodingTemplate::assemble(const TokenSequence& first, TokenRange first_range, const TokenSequence* second,
                                    TokenRange second_range, const EncodeOptions& options) const {
  Encoding encoding;
  const auto append_text = [&](const TokenSequence& tokens, TokenRange range, int64_t sequence) {
    append_range(tokens.ids, range, encoding.input_ids);
    if (!options.offsets) return;
    const size_t before = encoding.offsets.size();
    append_range(tokens.offsets, range, encoding.offsets);
    for (size_t i = 0; trim_ && i < range.size(); ++i) {
      const TokenSpaces& spaces = tokens.spaces[range.begin + i];
      ByteSpan& span = encoding.offsets[before + i];
      const bool is_first = i == 0 || span.begin == 0;
      const bool is_prefix = is_first && trim_->add_prefix_space && spaces.leading == 1;
      if (!is_prefix) span.begin = std::min(spaces.inside.begin, span.end);
      span.end = std::max(spaces.inside.end, span.begin);
    }
    append_range(tokens.words, range, encoding.word_ids);
    encoding.sequence_ids.resize(encoding.input_ids.size(), sequence);
  };
  for (const TemplatePiece& piece : pieces(second != nullptr)) {
    switch (piece.kind) {
      case TemplatePiece::Kind::kSpecial:
        if (!options.add_special_tokens) break;
        encoding.input_ids.insert(encoding.input_ids.end(), piece.ids.begin(), piece.ids.end());
        if (!options.offsets) break;
        encoding.offsets.resize(encoding.input_ids.size());
        encoding.word_ids.resize(encoding.input_ids.size(), -1);
        encoding.sequence_ids.resize(encoding.input_ids.size(), -1);
        break;
      case TemplatePiece::Kind::kFirst:
        append_text(first, first_range, 0);
        break;
      case TemplatePiece::Kind::kSecond:
        append_text(*second, second_range, 1);
        break;
    }
    encoding.token_type_ids.resize(encoding.input_ids.size(), piece.type_id);
  }
  return encoding;
}

}  // namespace compression
