#include "compress/tokenizer/vocabulary_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <tuple>

#include "compress/base/json_file.h"  // read_text_file
#include "compress/tokenizer/bert_normalizer.h"
#include "compress/tokenizer/bpe.h"
#include "compress/tokenizer/token_trie.h"
#include "compress/tokenizer/unicode.h"
#include "compress/tokenizer/unigram.h"
#include "compress/tokenizer/vocabulary.h"
#include "compress/tokenizer/wordpiece.h"

namespace compression {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMetaspace = "\u2581";

SpecialTokens with_settings(SpecialTokens tokens, const TokenizerSettings& settings) {
  for (const auto& [role, token] : tokens.roles()) *token = settings.token(role).value_or(*token);
  return tokens;
}

/// The tokens that are looked for in the text, from "added_tokens_decoder" and the special ones; sets their ids.
/// `may_be_new`: those that the vocabulary lacks are added to it, else they have to be there (but the mask, which only
/// pretraining needs).
void add_tokens(const TokenizerSettings& settings, const SpecialTokens& tokens, const std::vector<AddedToken>& more,
                bool may_be_new, Vocabulary& vocabulary, PipelineConfig& config) {
  AddedTokenList added(vocabulary);
  for (const auto& [id, token] : settings.added_tokens_decoder()) added.add(token, static_cast<int32_t>(id));
  const auto special = [&](const char* key, const std::string& content, const std::string& role) {
    AddedToken token = settings.special_token(key).value_or(AddedToken{.content = content});
    return added.add_special(std::move(token), role, may_be_new);
  };
  SpecialIds& ids = config.special_ids;
  if (!tokens.bos.empty()) special("bos_token", tokens.bos, "first");
  if (!tokens.eos.empty()) special("eos_token", tokens.eos, "last");
  if (!tokens.unk.empty()) ids.unk = special("unk_token", tokens.unk, "unknown");
  if (!tokens.sep.empty()) ids.sep = special("sep_token", tokens.sep, "separator");
  ids.pad = special("pad_token", tokens.pad, "padding");
  if (!tokens.cls.empty()) ids.cls = special("cls_token", tokens.cls, "classification");
  if (!tokens.mask.empty() && (may_be_new || vocabulary.find(tokens.mask))) {
    AddedToken mask = settings.special_token("mask_token").value_or(AddedToken{.content = tokens.mask});
    if (tokens.mask_takes_space && !settings.has_flags("mask_token")) mask.lstrip = true;
    ids.mask = added.add_special(std::move(mask), "mask", may_be_new);
  }
  for (auto& token : settings.extra_tokens()) added.add_special(std::move(token), "additional special", may_be_new);
  for (const AddedToken& token : more) added.add_special(token, "special", may_be_new);
  config.added_tokens = added.take();
  take_ids(vocabulary, config);
  config.warnings = settings.warnings();
}

void refuse_unplaced_tokens(const fs::path& path, const TokenizerSettings& settings) {
  const fs::path unplaced = path.parent_path() / "added_tokens.json";
  if (!settings.find("added_tokens_decoder") && is_present(unplaced)) {
    throw UnsupportedError(unplaced.string() + ": found next to " + path.filename().string() +
                           ", supported: tokenizer.json, or \"added_tokens_decoder\" in tokenizer_config.json");
  }
}

std::string read_utf8(const fs::path& path) {
  std::string content = read_tokenizer_file(path);
  if (!unicode::is_valid(content)) throw CheckpointError(path.string() + ": found bytes that are not UTF-8");
  return content;
}

/// Calls back with each line and its number from 1.
template <class Callback>
void for_each_line(std::string_view content, const Callback& callback) {
  for (size_t number = 1; !content.empty(); ++number) {
    const size_t end = content.find('\n');
    callback(content.substr(0, end), number);
    content = end == std::string_view::npos ? std::string_view() : content.substr(end + 1);
  }
}

// ---- sentencepiece

/// The pieces from `first` on, as entries of a vocabulary.
void append_pieces(const SentencepieceModel& model, size_t first, UnigramConfig& config) {
  for (size_t i = first; i < model.pieces.size(); ++i) {
    config.vocabulary.emplace_back(model.pieces[i].text, model.pieces[i].score);
  }
}

/// The merges that a BPE model of pieces stands for: of the best piece first, all its ways to be made of two.
std::vector<MergeIds> merges_of(const SentencepieceModel& model, const Vocabulary& vocabulary) {
  std::vector<std::pair<std::string, int32_t>> forwards, backwards;  // the pieces, and each from its last byte on
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& [text, score, kind] = model.pieces[i];
    if (kind != SentencepieceModel::PieceKind::kNormal) continue;
    forwards.emplace_back(text, static_cast<int32_t>(i));
    backwards.emplace_back(std::string(text.rbegin(), text.rend()), static_cast<int32_t>(i));
  }
  const TokenTrie beginnings(forwards), ends(backwards);
  struct Split {
    float score;
    int32_t whole;
    size_t size;  // of the left part
    int32_t left, right;
  };
  std::vector<Split> splits;
  std::vector<int32_t> left_of;  // by size: the piece that the text begins with; -1: none
  for (size_t p = 0; p < forwards.size(); ++p) {
    const auto& [text, whole] = forwards[p];
    left_of.assign(text.size() + 1, -1);
    beginnings.for_each_match(text, [&](size_t size, int32_t left) { left_of[size] = left; });
    ends.for_each_match(backwards[p].first, [&](size_t size, int32_t right) {
      const auto left_size = text.size() - size;
      if (left_size == 0 || left_of[left_size] < 0) return;
      splits.push_back({model.pieces[static_cast<size_t>(whole)].score, whole, left_size, left_of[left_size], right});
    });
  }
  std::ranges::sort(splits, {}, [](const Split& split) { return std::tuple(-split.score, split.whole, split.size); });
  std::vector<MergeIds> merges;
  const auto id = [&](int32_t piece) { return *vocabulary.find(model.pieces[static_cast<size_t>(piece)].text); };
  for (const auto& split : splits) merges.push_back({id(split.left), id(split.right), id(split.whole)});
  return merges;
}

using NormalizerPtr = std::shared_ptr<const Normalizer>;
using PreTokenizerPtr = std::shared_ptr<const PreTokenizer>;

PreTokenizerPtr white_space_then_metaspace(bool add_prefix_space) {
  return std::make_shared<PreTokenizerSequence>(std::vector<PreTokenizerPtr>{
      std::make_shared<CharacterSplit>(unicode::is_white_space, SplitBehavior::kRemoved),
      std::make_shared<Metaspace>(kMetaspace,
                                  add_prefix_space ? Metaspace::Prepend::kAlways : Metaspace::Prepend::kNever, true)});
}

NormalizerPtr replace_regex(const char* expression, const char* content) {
  return std::make_shared<Replace>(*Pattern::regex(expression), content);
}

/// A model of no class in particular encodes as sentencepiece itself does.
void read_own_rules(const SentencepieceModel& model, const TokenizerSettings& settings, const NormalizerPtr& charsmap,
                    PipelineConfig& config) {
  std::vector<NormalizerPtr> normalizers;
  if (charsmap) normalizers.push_back(charsmap);
  if (model.remove_extra_whitespaces) {
    normalizers.push_back(replace_regex("\\A +| +\\z", ""));
    normalizers.push_back(replace_regex(" {2,}", " "));
  }
  if (model.escape_whitespaces) normalizers.push_back(std::make_shared<Replace>(Pattern::literal(" "), kMetaspace));
  const bool is_legacy = settings.boolean_or("legacy", true);
  if (model.add_dummy_prefix && is_legacy) {
    normalizers.push_back(replace_regex("\\A\u2581", "\u2581\u2581"));
  }
  config.normalizer = std::make_shared<NormalizerSequence>(std::move(normalizers));
  config.decoder = sentencepiece_decoder(model.add_dummy_prefix);

  std::vector<std::string> user_defined;
  for (const auto& piece : model.pieces) {
    if (piece.kind == SentencepieceModel::PieceKind::kUserDefined) user_defined.push_back(piece.text);
  }
  std::stable_sort(user_defined.begin(), user_defined.end(),
                   [](const std::string& a, const std::string& b) { return unicode::count(a) > unicode::count(b); });
  std::vector<PreTokenizerPtr> splitters;
  if (model.add_dummy_prefix) {
    splitters.push_back(std::make_shared<Metaspace>(
        kMetaspace, is_legacy ? Metaspace::Prepend::kAlways : Metaspace::Prepend::kFirst, false));
  }
  if (!user_defined.empty()) {
    splitters.push_back(std::make_shared<PatternSplit>(Pattern::any_of(user_defined), SplitBehavior::kIsolated, false));
  }
  config.pre_tokenizer = std::make_shared<PreTokenizerSequence>(std::move(splitters));
}

}  // namespace

namespace {

/// The class that reads a file which stands for one where none is named.
const TokenizerClass& class_of(const fs::path& path, std::string_view what, std::initializer_list<TokenizerRules> rules,
                               const TokenizerSettings& settings) {
  if (const auto* found = settings.vocabulary_class(path, what, rules)) return *found;
  throw std::logic_error(fmt::format("{}: no class of tokenizers stands for it", path.string()));
}

}  // namespace

PipelineConfig read_vocab_txt(const fs::path& path, const TokenizerSettings& settings) {
  using enum TokenizerRules;
  const auto& made = class_of(path, "vocab.txt", {word_pieces, word_pieces_marks}, settings);
  PipelineConfig config;
  const bool lowercase = settings.boolean_or("do_lower_case", true);
  config.normalizer = std::make_shared<BertNormalizer>(
      BertNormalizerOptions{.clean_text = true,
                            .handle_chinese_chars = settings.boolean_or("tokenize_chinese_chars", true),
                            .strip_accents = settings.boolean_or("strip_accents", lowercase),
                            .lowercase = lowercase});
  config.pre_tokenizer = std::make_shared<BertPreTokenizer>();
  config.decoder = std::make_shared<WordPieceDecoder>("##", true);

  Vocabulary vocabulary(path.string());
  const std::string content = read_utf8(path);
  for_each_line(content, [&](std::string_view line, size_t) {
    vocabulary.append(std::string(unicode::trim_end(line)));  // of a token that is there twice the last line counts
  });
  const SpecialTokens tokens = with_settings(made.tokens, settings);
  WordPieceConfig wordpiece = {.vocabulary = {vocabulary.ids().begin(), vocabulary.ids().end()},
                               .unknown_token = tokens.unk};
  refuse_unplaced_tokens(path, settings);
  add_tokens(settings, tokens, {}, false, vocabulary, config);
  config.model = std::make_shared<WordPiece>(std::move(wordpiece));
  const SpecialIds& ids = config.special_ids;
  if (made.rules == word_pieces_marks) {
    config.post_processor = EncodingTemplate::roberta(*ids.cls, *ids.sep, OffsetTrim{.add_prefix_space = false});
  } else {
    config.post_processor = EncodingTemplate::bert(*ids.cls, *ids.sep);
  }
  if (config.post_processor.trims()) config.spaces = spaces_of(vocabulary);
  return config;
}

std::vector<std::pair<std::string, std::string>> read_merges(const fs::path& path) {
  std::vector<std::pair<std::string, std::string>> merges;
  const std::string content = read_utf8(path);
  for_each_line(content, [&](std::string_view line, size_t number) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || line.empty()) return;
    const size_t space = line.find(' ');
    if (space == 0 || space + 1 == line.size() || space == std::string_view::npos ||
        line.find(' ', space + 1) != std::string_view::npos) {
      throw CheckpointError(path.string() + ": line " + std::to_string(number) + ": found " +
                            in_quotes(line.substr(0, 60)) + ", expected two tokens with a space between them");
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  });
  return merges;
}

PipelineConfig read_vocab_json(const fs::path& path, const TokenizerSettings& settings) {
  const auto& made = class_of(path, "vocab.json with merges.txt", {TokenizerRules::bytes_marks}, settings);
  const nlohmann::json content = read_strict_json(path);
  const JsonNode tokens_and_ids = root(content, path);
  if (!content.is_object()) tokens_and_ids.mismatch("an object of tokens and ids");
  Vocabulary vocabulary(path.string());
  for (const auto& [token, id] : content.items()) {
    vocabulary.add(token, JsonNode::is_natural(id) ? id.get<int32_t>() : tokens_and_ids[token].natural());
  }
  PipelineConfig config;
  const bool add_prefix_space = settings.boolean_or("add_prefix_space", false);
  config.pre_tokenizer = std::make_shared<ByteLevel>(add_prefix_space, true);
  config.decoder = std::make_shared<ByteLevelDecoder>();
  const fs::path merges = path.parent_path() / "merges.txt";
  config.model = std::make_shared<Bpe>(
      BpeConfig{.vocabulary = vocabulary.ids(), .merges = read_merges(merges), .byte_level = true}, merges.string());
  refuse_unplaced_tokens(path, settings);
  add_tokens(settings, with_settings(made.tokens, settings), {}, true, vocabulary, config);
  const std::optional<OffsetTrim> trim = settings.boolean_or("trim_offsets", true)
                                             ? std::optional(OffsetTrim{.add_prefix_space = add_prefix_space})
                                             : std::nullopt;
  config.post_processor = EncodingTemplate::roberta(*config.special_ids.cls, *config.special_ids.sep, trim);
  if (trim) config.spaces = spaces_of(vocabulary);
  return config;
}

namespace {

/// A sentencepiece model on its way to a pipeline.
class SentencepieceReader {
 public:
  SentencepieceReader(SentencepieceModel model, const fs::path& path, const TokenizerSettings& settings)
      : path_(path), settings_(settings), model_(std::move(model)) {
    if (!model_.charsmap.empty()) {
      charsmap_ = std::make_shared<Precompiled>(model_.charsmap, path.string() + ": precompiled_charsmap");
    }
    choose_class();
    choose_tokens();
  }

  PipelineConfig read() {
    PipelineConfig config;
    auto unigram = pieces();
    Vocabulary vocabulary(path_.string());
    for (const auto& entry : unigram.vocabulary) vocabulary.append(entry.first);
    if (*unigram.unknown_id >= vocabulary.size()) {
      throw CheckpointError(path_.string() + ": found " + std::to_string(vocabulary.size()) +
                            " pieces, expected the special ones of " + std::string(class_ ? class_->name : "") +
                            " among them");
    }
    set_rules(config);
    if (model_.is_bpe) {
      config.model = bpe(vocabulary);
    } else {
      config.model = std::make_shared<Unigram>(std::move(unigram));
    }
    refuse_unplaced_tokens(path_, settings_);
    add_tokens(settings_, tokens_, more_tokens(), true, vocabulary, config);
    config.post_processor = frame([&](const std::string& token) { return int64_t{*vocabulary.find(token)}; });
    return config;
  }

 private:
  using Kind = SentencepieceModel::PieceKind;

  bool has_class() const { return class_ != nullptr; }
  bool goes_by(TokenizerRules rules) const { return class_ != nullptr && class_->rules == rules; }
  bool has_marks() const { return goes_by(TokenizerRules::unigram_marks) || goes_by(TokenizerRules::unigram_unused); }

  void choose_class() {
    const auto name = settings_.class_name();
    if (name != "PreTrainedTokenizer" && name != "TokenizersBackendTokenizer") {
      using enum TokenizerRules;
      class_ = settings_.vocabulary_class(path_, "a sentencepiece model",
                                          {unigram_marks, unigram_unused, unigram_quotes, unigram_spaces});
    }
    if (class_) tokens_ = class_->tokens;
    if (has_class() && model_.is_bpe) {
      throw UnsupportedError(path_.string() + ": found a BPE model for " + std::string(class_->name) +
                             ", supported: a unigram model, or BPE with the tokenizer class PreTrainedTokenizer");
    }
  }

  void choose_tokens() {
    if (!has_class()) {
      tokens_ = {.unk = text_of(model_.unknown_id), .bos = text_of(model_.begin_id), .eos = text_of(model_.end_id)};
    }
    tokens_ = with_settings(tokens_, settings_);
    if (tokens_.pad.empty()) tokens_.pad = tokens_.eos.empty() ? tokens_.unk : tokens_.eos;
  }

  std::string text_of(int32_t id) const { return id < 0 ? std::string() : model_.pieces[static_cast<size_t>(id)].text; }

  /// The pieces in the order of the ids that the class gives them.
  UnigramConfig pieces() const {
    UnigramConfig unigram = {.unknown_id = model_.unknown_id, .byte_fallback = !has_class() && model_.byte_fallback};
    if (has_marks()) {
      const bool all_used = goes_by(TokenizerRules::unigram_marks);
      if (all_used) {
        unigram.vocabulary = {{tokens_.bos, 0}, {tokens_.pad, 0}, {tokens_.eos, 0}, {tokens_.unk, 0}};
      } else {
        unigram.vocabulary = {
            {"<s>NOTUSED", 0}, {tokens_.pad, 0}, {"</s>NOTUSED", 0}, {tokens_.unk, 0}, {"<unk>NOTUSED", -100}};
      }
      append_pieces(model_, all_used ? 3 : 1, unigram);
      unigram.vocabulary.emplace_back(tokens_.mask, 0);
      unigram.unknown_id = 3;
      return unigram;
    }
    append_pieces(model_, 0, unigram);
    if (goes_by(TokenizerRules::unigram_quotes)) unigram.unknown_id = 1;
    for (size_t i = 0; goes_by(TokenizerRules::unigram_spaces) && i < unigram.vocabulary.size(); ++i) {
      if (unigram.vocabulary[i] == std::pair(tokens_.unk, 0.0)) unigram.unknown_id = static_cast<int32_t>(i);
    }
    return unigram;
  }

  /// Normalizer and pre-tokenizer.
  void set_rules(PipelineConfig& config) const {
    const bool add_prefix_space = settings_.boolean_or("add_prefix_space", true);
    if (!has_class()) return read_own_rules(model_, settings_, charsmap_, config);
    const bool was_prepended = add_prefix_space || goes_by(TokenizerRules::unigram_spaces);
    config.decoder = std::make_shared<MetaspaceDecoder>(kMetaspace, was_prepended);
    if (goes_by(TokenizerRules::unigram_spaces)) {
      config.normalizer = spaces_normalizer();
      config.pre_tokenizer = spaces_splitters(add_prefix_space);
    } else {
      config.normalizer = has_marks() ? charsmap_ : quotes_normalizer();
      config.pre_tokenizer = white_space_then_metaspace(add_prefix_space);
    }
  }

  NormalizerPtr quotes_normalizer() const {
    std::vector<NormalizerPtr> normalizers;
    normalizers.push_back(std::make_shared<Replace>(Pattern::literal("``"), "\""));
    normalizers.push_back(std::make_shared<Replace>(Pattern::literal("''"), "\""));
    if (!settings_.boolean_or("keep_accents", false)) {
      normalizers.push_back(std::make_shared<UnicodeForm>(true, false));
      normalizers.push_back(std::make_shared<StripAccents>());
    }
    if (settings_.boolean_or("do_lower_case", true)) normalizers.push_back(std::make_shared<Lowercase>());
    if (charsmap_) normalizers.push_back(charsmap_);
    return std::make_shared<NormalizerSequence>(std::move(normalizers));
  }

  NormalizerPtr spaces_normalizer() const {
    std::vector<NormalizerPtr> normalizers;
    if (settings_.boolean_or("do_lower_case", false)) normalizers.push_back(std::make_shared<Lowercase>());
    normalizers.push_back(replace_regex("\\s{2,}|[\\n\\r\\t]", " "));
    normalizers.push_back(std::make_shared<UnicodeForm>(false, true));
    normalizers.push_back(std::make_shared<Strip>(false, true));
    return std::make_shared<NormalizerSequence>(std::move(normalizers));
  }

  PreTokenizerPtr spaces_splitters(bool add_prefix_space) const {
    std::vector<PreTokenizerPtr> splitters;
    if (settings_.boolean_or("split_by_punct", false)) {
      splitters.push_back(std::make_shared<CharacterSplit>(unicode::is_bert_punctuation, SplitBehavior::kIsolated));
    }
    splitters.push_back(std::make_shared<Metaspace>(
        kMetaspace, add_prefix_space ? Metaspace::Prepend::kAlways : Metaspace::Prepend::kFirst, true));
    return std::make_shared<PreTokenizerSequence>(std::move(splitters));
  }

  std::shared_ptr<SubwordModel> bpe(const Vocabulary& vocabulary) const {
    const bool has_user_defined =
        std::ranges::any_of(model_.pieces, [](const auto& piece) { return piece.kind == Kind::kUserDefined; });
    return std::make_shared<Bpe>(BpeConfig{.vocabulary = vocabulary.ids(),
                                           .merge_ids = merges_of(model_, vocabulary),
                                           .unknown_token = text_of(model_.unknown_id),
                                           .fuse_unknown = true,
                                           .byte_fallback = model_.byte_fallback,
                                           .ignore_merges = has_user_defined},
                                 path_.string());
  }

  /// Pieces that are tokens of their own besides the special ones.
  std::vector<AddedToken> more_tokens() const {
    std::vector<AddedToken> more;
    for (const auto& piece : model_.pieces) {
      if (piece.kind == Kind::kControl || (has_class() && piece.kind == Kind::kUserDefined)) {
        more.push_back({.content = piece.text});
      }
    }
    return more;
  }

  template <class Id>
  EncodingTemplate frame(const Id& id) const {
    if (has_marks()) return EncodingTemplate::roberta(id(tokens_.bos), id(tokens_.eos));
    if (has_class()) return EncodingTemplate::bert(id(tokens_.cls), id(tokens_.sep));
    const auto framed = [&](TemplatePiece text, int64_t type_id, SequenceTemplate& pieces) {
      if (settings_.boolean_or("add_bos_token", false)) pieces.push_back(special_piece({id(tokens_.bos)}, type_id));
      pieces.push_back(std::move(text));
      if (settings_.boolean_or("add_eos_token", false)) pieces.push_back(special_piece({id(tokens_.eos)}, type_id));
    };
    SequenceTemplate single, pair;
    framed(first_piece(0), 0, single);
    framed(first_piece(0), 0, pair);
    framed(second_piece(1), 1, pair);
    return {single, pair};
  }

  const fs::path& path_;
  const TokenizerSettings& settings_;
  const SentencepieceModel model_;
  NormalizerPtr charsmap_;                 // may be null
  const TokenizerClass* class_ = nullptr;  // null: none in particular
  SpecialTokens tokens_;
};

}  // namespace

PipelineConfig read_sentencepiece(SentencepieceModel model, const fs::path& path, const TokenizerSettings& settings) {
  return SentencepieceReader(std::move(model), path, settings).read();
}

PipelineConfig read_sentencepiece(const fs::path& path, const TokenizerSettings& settings) {
  auto model = parse_sentencepiece(read_text_file(path, limits::sentencepiece_bytes), path.string());
  return read_sentencepiece(std::move(model), path, settings);
}

}  // namespace compression
