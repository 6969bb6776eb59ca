#include "compress/tokenizer/pipeline.h"

#include <algorithm>
#include <limits>
#include <unordered_set>
#include <utility>

#include "compress/base/error.h"
#include "compress/tokenizer/unicode.h"
#include "compress/tokenizer/vocabulary.h"

namespace compression {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

[[noreturn]] void refuse_normalizer(const std::filesystem::path& folder, size_t bytes) {
  throw CheckpointError(folder.string() + ": found that the tokenizer's normalizer makes more than " +
                        std::to_string(longest_normalized(bytes)) + " bytes of a text of " + std::to_string(bytes) +
                        ", expected less");
}

AddedTokenMatcher normalized_matcher(const PipelineConfig& config, const Normalizer* normalizer) {
  std::vector<AddedToken> wanted;
  std::unordered_set<std::string> seen;
  for (const AddedToken& token : config.added_tokens) {
    if (!token.normalized) continue;
    wanted.push_back(token);
    std::string& content = wanted.back().content;
    try {
      if (normalizer != nullptr) content = normalizer->normalize(content);
    } catch (const TextTooLong&) {
      refuse_normalizer(config.folder, content.size());
    }
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

/// `text` with each ill-formed part as U+FFFD, and where each byte comes from, if that is wanted.
AlignedText align(std::string_view text, bool with_sources) {
  AlignedText result;
  if (!with_sources) {
    result.text = unicode::replace_invalid(text);
    return result;
  }
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    unicode::append(unicode::decode_any(text, i), result.text);
    result.sources.resize(result.text.size(), {static_cast<int64_t>(begin), static_cast<int64_t>(i)});
  }
  return result;
}

/// Gives `plain` what is between the matches, and `added` the matches, in their order.
template <class Plain, class Added>
void split_at(const AddedTokenMatcher& matcher, const TextView& text, const Plain& plain, const Added& added) {
  size_t position = 0;
  if (!matcher.empty()) {
    for (const AddedTokenMatch& match : matcher.find(text.text)) {
      if (position < match.begin) plain(text.slice(position, match.begin));
      added(text.slice(match.begin, match.end), match.id);
      position = match.end;
    }
  }
  if (position < text.text.size()) plain(text.slice(position, text.text.size()));
}

constexpr char32_t kSpaceSign = 0x120;  // U+0120, byte_characters()[' ']

bool is_space(char32_t c) {
  return c == kSpaceSign || unicode::is_white_space(c);
}

/// Where `text` goes on after, or before, a number of characters from `position`.
int64_t step(std::string_view text, int64_t position, int32_t characters) {
  auto at = static_cast<size_t>(position);
  for (; characters > 0 && at < text.size(); --characters) unicode::decode_any(text, at);
  for (; characters < 0 && at > 0; ++characters) {
    do --at;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  }
  return static_cast<int64_t>(at);
}

}  // namespace

SpaceCounts count_spaces(std::string_view token) {
  SpaceCounts counts;
  std::vector<bool> spaces;
  for (size_t i = 0; i < token.size();) spaces.push_back(is_space(unicode::decode(token, i)));
  counts.leading = static_cast<int32_t>(std::find(spaces.begin(), spaces.end(), false) - spaces.begin());
  counts.trailing = static_cast<int32_t>(std::find(spaces.rbegin(), spaces.rend(), false) - spaces.rbegin());
  return counts;
}

std::unordered_map<int64_t, SpaceCounts> spaces_of(const Vocabulary& vocabulary) {
  std::unordered_map<int64_t, SpaceCounts> spaces;
  for (const auto& [token, id] : vocabulary.ids()) {
    const SpaceCounts counts = count_spaces(token);
    if (counts.leading > 0 || counts.trailing > 0) spaces.emplace(id, counts);
  }
  return spaces;
}

void take_ids(const Vocabulary& vocabulary, PipelineConfig& config) {
  std::unordered_set<std::string_view> contents;
  for (const AddedToken& token : config.added_tokens) contents.insert(token.content);
  config.vocabulary_size = vocabulary.end_of_ids();
  std::vector<std::string_view> tokens(static_cast<size_t>(config.vocabulary_size));
  for (const auto& [token, id] : vocabulary.ids()) {
    tokens[static_cast<size_t>(id)] = token;
    if (id >= config.words_end && !contents.contains(token)) config.words_end = id + int64_t{1};
  }
  for (const auto token : tokens) {
    config.texts.all += token;
    config.texts.ends.push_back(static_cast<uint32_t>(config.texts.all.size()));
  }
}

std::string TokenizerPipeline::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const auto id : ids) {
    const auto text = token(id);
    if (!text.empty() && !(skip_special && special_.contains(id))) tokens.emplace_back(text);
  }
  std::string text;
  if (config_.decoder) {
    config_.decoder->decode(tokens);
    for (const auto& part : tokens) text += part;
  } else {
    for (const auto& part : tokens) text += (text.empty() ? "" : " ") + part;
  }
  return text;
}

std::string_view TokenizerPipeline::token(int64_t id) const {
  const auto& [all, ends] = config_.texts;
  if (id < 0 || id >= static_cast<int64_t>(ends.size())) return {};
  const auto begin = id == 0 ? 0 : ends[static_cast<size_t>(id) - 1];
  return std::string_view(all).substr(begin, ends[static_cast<size_t>(id)] - begin);
}

TokenizerPipeline::TokenizerPipeline(PipelineConfig config)
    : config_(std::move(config)),
      added_in_text_(raw_matcher(config_.added_tokens)),
      usual_(normalization(config_.normalizer, config_)),
      sentence_(usual_) {
  for (const auto& token : config_.added_tokens) {
    if (token.special) special_.insert(token.id);
  }
  if (!config_.sentence.lower_case) return;
  std::vector<std::shared_ptr<const Normalizer>> steps{std::make_shared<Lowercase>()};
  if (config_.normalizer) steps.push_back(config_.normalizer);
  sentence_ = normalization(std::make_shared<NormalizerSequence>(std::move(steps)), config_);
}

TokenizerPipeline::Normalization TokenizerPipeline::normalization(std::shared_ptr<const Normalizer> normalizer,
                                                                  const PipelineConfig& config) {
  auto added = normalized_matcher(config, normalizer.get());
  return {std::move(normalizer), std::move(added)};
}

std::vector<NamedToken> TokenizerPipeline::added_tokens() const {
  std::vector<NamedToken> tokens;
  for (const AddedToken& token : config_.added_tokens) tokens.push_back({token.content, token.id});
  return tokens;
}

TemplateUse TokenizerPipeline::template_use(bool pair) const {
  TemplateUse use;
  for (const TemplatePiece& piece : config_.post_processor.pieces(pair)) {
    use.ids.insert(use.ids.end(), piece.ids.begin(), piece.ids.end());
    use.token_types = std::max(use.token_types, piece.type_id + 1);
  }
  return use;
}

int64_t TokenizerPipeline::usable_ids() const {
  return std::min(config_.vocabulary_size, config_.rows.value_or(config_.vocabulary_size));
}

Encoding TokenizerPipeline::encode(const TextInput& input, const EncodeOptions& options) const {
  const size_t room = config_.post_processor.room(input.pair.has_value(), options);
  if (!input.pair) return config_.post_processor.encode(tokens_of(input.text, room, options), nullptr, options);
  const TokenSequence first = tokens_of(input.text, kNoLimit, options);
  const TokenSequence second = tokens_of(*input.pair, kNoLimit, options);
  return config_.post_processor.encode(first, &second, options);
}

Encoding TokenizerPipeline::encode_words(std::span<const std::string> words, const EncodeOptions& options) const {
  TokenSequence tokens;
  for (size_t i = 0; i < words.size(); ++i) {
    append_text(words[i], kNoLimit, options, static_cast<int64_t>(i), tokens);
  }
  return config_.post_processor.encode(tokens, nullptr, options);
}

std::vector<Encoding> TokenizerPipeline::encode_windows(const TextInput& input, const EncodeOptions& options,
                                                        int64_t stride) const {
  const TokenSequence first = tokens_of(input.text, kNoLimit, options);
  if (!input.pair) return config_.post_processor.windows(first, nullptr, options, stride);
  const TokenSequence second = tokens_of(*input.pair, kNoLimit, options);
  return config_.post_processor.windows(first, &second, options, stride);
}

TokenSequence TokenizerPipeline::tokens_of(std::string_view text, size_t limit, const EncodeOptions& options) const {
  constexpr size_t kBytesPerToken = 4;  // a guess, about right for English
  TokenSequence tokens;
  tokens.ids.reserve(std::min(limit, text.size() / kBytesPerToken + 2));
  const auto prompt = options.sentence ? options.prompt.value_or(config_.sentence.prompt) : std::string_view();
  if (prompt.empty()) {
    append_text(text, limit, options, -1, tokens);
  } else {
    append_text(std::string(prompt) + std::string(text), limit, options, -1, tokens);
  }
  return tokens;
}

void TokenizerPipeline::append_spaces(std::string_view text, SpaceCounts counts, TokenSequence& tokens) const {
  const ByteSpan& span = tokens.offsets[tokens.spaces.size()];
  tokens.spaces.push_back({counts.leading,
                           {counts.leading > 0 ? step(text, span.begin, counts.leading) : span.begin,
                            counts.trailing > 0 ? step(text, span.end, -counts.trailing) : span.end}});
}

void TokenizerPipeline::append_text(std::string_view text, size_t limit, const EncodeOptions& options, int64_t word,
                                    TokenSequence& tokens) const {
  const bool offsets = options.offsets;
  const Normalization& normalization = options.sentence ? sentence_ : usual_;
  const Normalizer* normalizer = normalization.normalizer.get();
  const AddedTokenMatcher& added_in_normalized = normalization.added;
  const bool trims = offsets && config_.post_processor.trims();
  const bool tracks = offsets || (config_.pre_tokenizer && config_.pre_tokenizer->needs_sources());
  AlignedText repaired;
  TextView whole = {text};
  if (tracks || !unicode::is_valid(text)) {
    repaired = align(text, tracks);
    whole = repaired.view();
  }
  // A token more than is wanted, by which it is seen that the text is truncated.
  const size_t end = limit < kNoLimit - tokens.ids.size() - 1 ? tokens.ids.size() + limit + 1 : kNoLimit;
  int64_t next_word = std::max<int64_t>(word, 0);
  const auto finish_word = [&] {
    if (!offsets) return;
    tokens.words.resize(tokens.ids.size(), next_word);
    if (word < 0) ++next_word;
  };
  const auto append_added = [&](const TextView& match, int64_t id) {
    tokens.ids.push_back(id);
    if (offsets) tokens.offsets.push_back(match.original(0, match.text.size()));
    if (trims) append_spaces(text, count_spaces(match.text), tokens);
    finish_word();
  };
  std::vector<PartRange> ranges;
  const auto append_part = [&](const TextView& part) {
    ranges.clear();
    config_.model->append(part.text, tokens.ids, offsets ? &ranges : nullptr);
    for (const PartRange& range : ranges) tokens.offsets.push_back(part.original(range.begin, range.end));
    while (trims && tokens.spaces.size() < tokens.ids.size()) {
      const auto found = config_.spaces.find(tokens.ids[tokens.spaces.size()]);
      append_spaces(text, found == config_.spaces.end() ? SpaceCounts() : found->second, tokens);
    }
    finish_word();
    return tokens.ids.size() < end;
  };
  const auto append_normalized = [&](const TextView& plain) {
    if (tokens.ids.size() >= end) return;
    if (config_.pre_tokenizer) {
      config_.pre_tokenizer->split(plain, append_part);
    } else {
      append_part(plain);
    }
  };
  AlignedText normalized;
  const auto append_plain = [&](const TextView& plain) {
    if (normalizer == nullptr) return split_at(added_in_normalized, plain, append_normalized, append_added);
    normalized.clear();
    normalized.most_bytes = longest_normalized(plain.text.size());
    try {
      normalizer->append(plain, normalized);
    } catch (const TextTooLong&) {
      refuse_normalizer(config_.folder, plain.text.size());
    }
    split_at(added_in_normalized, normalized.view(), append_normalized, append_added);
  };
  split_at(added_in_text_, whole, append_plain, append_added);
}

}  // namespace compression
