#include "compress/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <memory>

#include "compress/tokenizer/bert_normalizer.h"
#include "compress/tokenizer/bpe.h"
#include "compress/tokenizer/decoder.h"
#include "compress/tokenizer/normalizer.h"
#include "compress/tokenizer/pre_tokenizer.h"
#include "compress/tokenizer/tokenizer_class.h"
#include "compress/tokenizer/unicode.h"
#include "compress/tokenizer/unigram.h"
#include "compress/tokenizer/vocabulary.h"
#include "compress/tokenizer/wordpiece.h"

namespace compression {
namespace {

std::string decode_base64(const JsonNode& node) {
  const std::string text = node.long_string();
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int, 256> values;
  values.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) values[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char digit : std::string_view(text).substr(0, text.find_last_not_of('=') + 1)) {
    const int value = values[static_cast<unsigned char>(digit)];
    if (value < 0) node.mismatch("base64");
    bits = (bits << 6) | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>((bits >> count) & 0xFF);
  }
  return bytes;
}

/// {"String": ...} or {"Regex": ...}
Pattern read_pattern(const JsonNode& node) {
  if (const auto text = node.find("String")) return Pattern::literal(text->string());
  const JsonNode expression = node.at("Regex");
  if (const auto pattern = Pattern::regex(expression.string())) return *pattern;
  expression.unsupported("alternatives of characters, \\s and [sets], the last one with + or {n,}");
}

std::shared_ptr<const Normalizer> read_normalizer(const JsonNode& node) {
  const JsonNode type = node.at("type");
  if (type.value() == "Sequence") {
    std::vector<std::shared_ptr<const Normalizer>> steps;
    for (const JsonNode& step : node.at("normalizers").elements()) {
      if (auto normalizer = read_normalizer(step)) steps.push_back(std::move(normalizer));
    }
    return std::make_shared<NormalizerSequence>(std::move(steps));
  }
  if (type.value() == "BertNormalizer") {
    const bool lowercase = node.at("lowercase").boolean();
    return std::make_shared<BertNormalizer>(
        BertNormalizerOptions{.clean_text = node.at("clean_text").boolean(),
                              .handle_chinese_chars = node.at("handle_chinese_chars").boolean(),
                              .strip_accents = node.boolean_or("strip_accents", lowercase),
                              .lowercase = lowercase});
  }
  if (type.value() == "NFC") return std::make_shared<UnicodeForm>(false, true);
  if (type.value() == "NFD") return std::make_shared<UnicodeForm>(false, false);
  if (type.value() == "NFKC") return std::make_shared<UnicodeForm>(true, true);
  if (type.value() == "NFKD") return std::make_shared<UnicodeForm>(true, false);
  if (type.value() == "Lowercase") return std::make_shared<Lowercase>();
  if (type.value() == "StripAccents") return std::make_shared<StripAccents>();
  if (type.value() == "Nmt") return std::make_shared<Nmt>();
  if (type.value() == "Strip") {
    return std::make_shared<Strip>(node.at("strip_left").boolean(), node.at("strip_right").boolean());
  }
  if (type.value() == "Prepend") return std::make_shared<Prepend>(node.at("prepend").string());
  if (type.value() == "Replace") {
    return std::make_shared<Replace>(read_pattern(node.at("pattern")), node.at("content").string());
  }
  if (type.value() == "Precompiled") {
    const auto charsmap = node.find("precompiled_charsmap");
    if (!charsmap) return nullptr;
    return std::make_shared<Precompiled>(decode_base64(*charsmap), charsmap->place());
  }
  type.unsupported(
      "\"BertNormalizer\", \"Lowercase\", \"NFC\", \"NFD\", \"NFKC\", \"NFKD\", \"Nmt\", \"Precompiled\", \"Prepend\", "
      "\"Replace\", \"Sequence\", \"Strip\", \"StripAccents\"");
}

/// Llama 3's expression and, with single digits, Qwen 2's, which Pattern has not.
std::shared_ptr<const PreTokenizer> read_gpt4_words(const JsonNode& split) {
  const std::string before = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}";
  const std::string behind = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const auto expression = split.at("pattern")["Regex"];
  const bool is_plain = split.at("behavior").value() == "Isolated" && !split.boolean_or("invert", false);
  if (is_plain && expression.value() == before + "{1,3}" + behind) return std::make_shared<Gpt4Words>(3);
  if (is_plain && expression.value() == before + behind) return std::make_shared<Gpt4Words>(1);
  return nullptr;
}

SplitBehavior read_behavior(const JsonNode& node) {
  if (node.value() == "Removed") return SplitBehavior::kRemoved;
  if (node.value() == "Isolated") return SplitBehavior::kIsolated;
  if (node.value() == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (node.value() == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (node.value() == "Contiguous") return SplitBehavior::kContiguous;
  node.mismatch("\"Removed\", \"Isolated\", \"MergedWithPrevious\", \"MergedWithNext\" or \"Contiguous\"");
}

std::shared_ptr<const PreTokenizer> read_metaspace(const JsonNode& node) {
  const JsonNode replacement = node.at("replacement");
  if (unicode::count(replacement.string()) != 1) replacement.mismatch("one character");
  const JsonNode scheme = node["prepend_scheme"];
  auto prepend = Metaspace::Prepend::kAlways;
  if (scheme.value() == "first") {
    prepend = Metaspace::Prepend::kFirst;
  } else if (scheme.value() == "never") {
    prepend = Metaspace::Prepend::kNever;
  } else if (!scheme.value().is_null() && scheme.value() != "always") {
    scheme.mismatch("\"always\", \"first\" or \"never\"");
  }
  if (!node.boolean_or("add_prefix_space", true) && prepend != Metaspace::Prepend::kNever) {
    node.at("add_prefix_space").mismatch("true, as prepend_scheme has it");
  }
  return std::make_shared<Metaspace>(replacement.string(), prepend, node.boolean_or("split", true));
}

/// `is_byte_level` becomes true where the parts are bytes.
std::shared_ptr<const PreTokenizer> read_pre_tokenizer(const JsonNode& node, bool& is_byte_level) {
  const JsonNode type = node.at("type");
  if (is_byte_level) type.unsupported("nothing behind \"ByteLevel\"");
  if (type.value() == "Sequence") {
    std::vector<std::shared_ptr<const PreTokenizer>> steps;
    for (const JsonNode& step : node.at("pretokenizers").elements()) {
      steps.push_back(read_pre_tokenizer(step, is_byte_level));
    }
    return std::make_shared<PreTokenizerSequence>(std::move(steps));
  }
  if (type.value() == "BertPreTokenizer") return std::make_shared<BertPreTokenizer>();
  if (type.value() == "ByteLevel") {
    is_byte_level = true;
    return std::make_shared<ByteLevel>(node.at("add_prefix_space").boolean(), node.boolean_or("use_regex", true));
  }
  if (type.value() == "Metaspace") return read_metaspace(node);
  if (type.value() == "Whitespace") return std::make_shared<WhitespaceWords>();
  if (type.value() == "WhitespaceSplit") {
    return std::make_shared<CharacterSplit>(unicode::is_white_space, SplitBehavior::kRemoved);
  }
  if (type.value() == "Punctuation") {
    const auto behavior = node.find("behavior");
    return std::make_shared<CharacterSplit>(unicode::is_bert_punctuation,
                                            behavior ? read_behavior(*behavior) : SplitBehavior::kIsolated);
  }
  if (type.value() == "Digits") {
    return std::make_shared<CharacterSplit>(unicode::is_numeric, node.boolean_or("individual_digits", false)
                                                                     ? SplitBehavior::kIsolated
                                                                     : SplitBehavior::kContiguous);
  }
  if (type.value() == "Split") {
    if (auto words = read_gpt4_words(node)) return words;
    return std::make_shared<PatternSplit>(read_pattern(node.at("pattern")), read_behavior(node.at("behavior")),
                                          node.boolean_or("invert", false));
  }
  type.unsupported(
      "\"BertPreTokenizer\", \"ByteLevel\", \"Digits\", \"Metaspace\", \"Punctuation\", \"Sequence\", \"Split\", "
      "\"Whitespace\", \"WhitespaceSplit\"");
}

std::shared_ptr<const Decoder> read_decoder(const JsonNode& node) {
  const JsonNode type = node.at("type");
  if (type.value() == "Sequence") {
    std::vector<std::shared_ptr<const Decoder>> steps;
    for (const JsonNode& step : node.at("decoders").elements()) steps.push_back(read_decoder(step));
    return std::make_shared<DecoderSequence>(std::move(steps));
  }
  if (type.value() == "ByteLevel") return std::make_shared<ByteLevelDecoder>();
  if (type.value() == "ByteFallback") return std::make_shared<ByteFallbackDecoder>();
  if (type.value() == "Fuse") return std::make_shared<FuseDecoder>();
  if (type.value() == "WordPiece") {
    return std::make_shared<WordPieceDecoder>(node.at("prefix").string(), node.boolean_or("cleanup", true));
  }
  if (type.value() == "BPEDecoder") return std::make_shared<SuffixDecoder>(node.at("suffix").string());
  if (type.value() == "Metaspace") {
    return std::make_shared<MetaspaceDecoder>(node.at("replacement").string(),
                                              node["prepend_scheme"].value() != "never");
  }
  if (type.value() == "Strip") {
    const JsonNode content = node.at("content");
    if (unicode::count(content.string()) != 1) content.mismatch("one character");
    return std::make_shared<StripDecoder>(node.at("content").string(), static_cast<size_t>(node.at("start").natural()),
                                          static_cast<size_t>(node.at("stop").natural()));
  }
  if (type.value() == "Replace") {
    const JsonNode pattern = node.at("pattern");
    if (const auto text = pattern.find("String")) {
      return std::make_shared<ReplaceDecoder>(text->string(), node.at("content").string());
    }
  }
  return std::make_shared<UnknownDecoder>(
      node.place() + ": found a decoder that is none of \"BPEDecoder\", " +
      "\"ByteFallback\", \"ByteLevel\", \"Fuse\", \"Metaspace\", \"Replace\" of a " +
      "text, \"Sequence\", \"Strip\", \"WordPiece\"");
}

void read_vocabulary(const JsonNode& tokens, Vocabulary& vocabulary) {
  if (!tokens.value().is_object()) tokens.mismatch("an object of tokens and ids");
  for (const auto& [token, id] : tokens.value().items()) {
    vocabulary.add(token, JsonNode::is_natural(id) ? id.get<int32_t>() : tokens[token].natural());
  }
}

std::shared_ptr<const SubwordModel> read_wordpiece(const JsonNode& model, Vocabulary& vocabulary, SpecialIds& ids) {
  WordPieceConfig config = {.unknown_token = model.at("unk_token").string(),
                            .continuing_prefix = model.at("continuing_subword_prefix").string(),
                            .max_characters_per_word = model.at("max_input_chars_per_word").natural()};
  read_vocabulary(model.at("vocab"), vocabulary);
  ids.unk = vocabulary.at(config.unknown_token, "unknown");
  config.vocabulary = {vocabulary.ids().begin(), vocabulary.ids().end()};
  return std::make_shared<WordPiece>(std::move(config));
}

std::shared_ptr<const SubwordModel> read_bpe(const JsonNode& model, bool is_byte_level, Vocabulary& vocabulary,
                                             SpecialIds& ids) {
  if (const auto dropout = model.find("dropout"); dropout && dropout->value() != 0.0) dropout->unsupported("null");
  read_vocabulary(model.at("vocab"), vocabulary);
  const auto text_or_empty = [&](const char* key) {
    const auto found = model.find(key);
    return found ? found->string() : std::string();
  };
  BpeConfig config = {.vocabulary = vocabulary.ids(),
                      .continuing_prefix = text_or_empty("continuing_subword_prefix"),
                      .end_of_word_suffix = text_or_empty("end_of_word_suffix"),
                      .fuse_unknown = model.boolean_or("fuse_unk", false),
                      .byte_fallback = model.boolean_or("byte_fallback", false),
                      .ignore_merges = model.boolean_or("ignore_merges", false),
                      .byte_level = is_byte_level};
  if (is_byte_level && !(config.continuing_prefix + config.end_of_word_suffix).empty()) {
    model.at("continuing_subword_prefix").unsupported("null, where parts are bytes");
  }
  if (const auto unknown = model.find("unk_token")) {
    config.unknown_token = unknown->string();
    ids.unk = vocabulary.at(*config.unknown_token, "unknown");
  }
  for (const JsonNode& merge : model.at("merges").elements()) config.merges.push_back(read_merge(merge));
  return std::make_shared<Bpe>(std::move(config), model.place());
}

std::shared_ptr<const SubwordModel> read_unigram(const JsonNode& model, Vocabulary& vocabulary, SpecialIds& ids) {
  UnigramConfig config = {.byte_fallback = model.boolean_or("byte_fallback", false)};
  const JsonNode tokens = model.at("vocab");
  for (const JsonNode& entry : tokens.elements()) {
    const nlohmann::json& value = entry.value();
    if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_number()) {
      entry.mismatch("a token and its score");
    }
    config.vocabulary.emplace_back(value[0].get<std::string>(), value[1].get<double>());
    vocabulary.append(config.vocabulary.back().first);
  }
  if (config.vocabulary.empty()) tokens.mismatch("at least one token");
  if (const auto unknown = model.find("unk_id")) {
    config.unknown_id = unknown->natural();
    ids.unk = config.unknown_id;
    if (*config.unknown_id >= vocabulary.size()) unknown->mismatch("an id below " + std::to_string(vocabulary.size()));
  }
  return std::make_shared<Unigram>(std::move(config));
}

/// The id at `node`, which has to be that of `token`.
int64_t checked_id(const JsonNode& node, const std::string& token, const Vocabulary& vocabulary) {
  const auto known = vocabulary.find(token);
  if (!known) node.mismatch("the id of " + in_quotes(token) + ", which is not in the vocabulary");
  if (node.natural() != *known) {
    node.mismatch(std::to_string(*known) + ", the id of " + in_quotes(token) + " in the vocabulary");
  }
  return *known;
}

/// The id in ["[SEP]", 102].
int64_t id_of_token_and_id(const JsonNode& node, const Vocabulary& vocabulary) {
  const JsonElements parts = node.elements();
  if (parts.size() != 2) node.mismatch("a token and its id");
  return checked_id(parts[1], parts[0].string(), vocabulary);
}

TemplatePiece read_template_piece(const JsonNode& piece, const JsonNode& special_tokens, const Vocabulary& vocabulary) {
  if (const auto sequence = piece.find("Sequence")) {
    const JsonNode id = sequence->at("id");
    const int64_t type_id = sequence->at("type_id").natural();
    if (id.value() == "A") return first_piece(type_id);
    if (id.value() == "B") return second_piece(type_id);
    id.mismatch("\"A\" or \"B\"");
  }
  if (const auto special = piece.find("SpecialToken")) {
    const JsonNode definition = special_tokens.at(special->at("id").string());
    const JsonElements ids = definition.at("ids").elements();
    const JsonElements tokens = definition.at("tokens").elements();
    if (ids.size() != tokens.size()) definition.mismatch("as many ids as tokens");
    TemplatePiece result = special_piece({}, special->at("type_id").natural());
    for (size_t i = 0; i < ids.size(); ++i) {
      result.ids.push_back(checked_id(ids[i], tokens[i].string(), vocabulary));
    }
    return result;
  }
  piece.mismatch("a \"Sequence\" or a \"SpecialToken\"");
}

SequenceTemplate read_template(const JsonNode& pieces, const JsonNode& special_tokens, const Vocabulary& vocabulary,
                               int texts) {
  SequenceTemplate result;
  size_t special = 0;
  for (const JsonNode& piece : pieces.elements()) {
    result.push_back(read_template_piece(piece, special_tokens, vocabulary));
    special += result.back().ids.size();
    if (special > limits::template_tokens || result.size() > limits::template_tokens) {
      pieces.unsupported("at most " + std::to_string(limits::template_tokens) + " special tokens");
    }
  }
  const auto count = [&](TemplatePiece::Kind kind) {
    return std::count_if(result.begin(), result.end(), [&](const TemplatePiece& piece) { return piece.kind == kind; });
  };
  if (count(TemplatePiece::Kind::kFirst) != 1 || count(TemplatePiece::Kind::kSecond) != texts - 1) {
    pieces.unsupported(texts == 1 ? "a template with the sequence A once and no B"
                                  : "a template with the sequences A and B once each");
  }
  return result;
}

/// What a post-processor without special tokens does to offsets.
std::optional<OffsetTrim> read_trim(const JsonNode& processor) {
  if (!processor.boolean_or("trim_offsets", true)) return std::nullopt;
  return OffsetTrim{processor.boolean_or("add_prefix_space", true)};
}

EncodingTemplate read_post_processor(const JsonNode& processor, const Vocabulary& vocabulary) {
  const JsonNode type = processor.at("type");
  if (type.value() == "TemplateProcessing") {
    const JsonNode special_tokens = processor.at("special_tokens");
    return {read_template(processor.at("single"), special_tokens, vocabulary, 1),
            read_template(processor.at("pair"), special_tokens, vocabulary, 2)};
  }
  if (type.value() == "BertProcessing" || type.value() == "RobertaProcessing") {
    const int64_t cls = id_of_token_and_id(processor.at("cls"), vocabulary);
    const int64_t sep = id_of_token_and_id(processor.at("sep"), vocabulary);
    return type.value() == "BertProcessing" ? EncodingTemplate::bert(cls, sep)
                                            : EncodingTemplate::roberta(cls, sep, read_trim(processor));
  }
  if (type.value() == "ByteLevel") {
    EncodingTemplate result;
    if (const auto trim = read_trim(processor)) result.set_trim(*trim);
    return result;
  }
  if (type.value() == "Sequence") {
    const JsonElements steps = processor.at("processors").elements();
    EncodingTemplate result;
    std::optional<OffsetTrim> trim;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (steps[i].at("type").value() == "ByteLevel") {
        if (i > 0 || steps.size() > 2) processor.unsupported("\"ByteLevel\" with one other behind it");
        trim = read_trim(steps[i]);
      } else {
        if (i + 1 < steps.size()) processor.unsupported("\"ByteLevel\" with one other behind it");
        result = read_post_processor(steps[i], vocabulary);
      }
    }
    if (trim && result.trims()) processor.unsupported("offsets that are trimmed once");
    if (trim) result.set_trim(*trim);
    return result;
  }
  type.unsupported("\"TemplateProcessing\", \"BertProcessing\", \"RobertaProcessing\", \"ByteLevel\", \"Sequence\"");
}

/// The id of the first of `names` that is in the vocabulary.
std::optional<int64_t> first_of(const Vocabulary& vocabulary, std::initializer_list<std::optional<std::string>> names) {
  for (const auto& name : names) {
    if (!name) continue;
    if (const auto id = vocabulary.find(*name)) return *id;
  }
  return std::nullopt;
}

/// What a template makes of texts: special ids, texts and types, in order.
SequenceTemplate spelt_out(const SequenceTemplate& pieces) {
  SequenceTemplate each;
  for (const TemplatePiece& piece : pieces) {
    if (piece.kind != TemplatePiece::Kind::kSpecial) each.push_back(piece);
    for (const int64_t id : piece.ids) each.push_back(special_piece({id}, piece.type_id));
  }
  return each;
}

/// A line where the class has another template than the file.
std::vector<std::string> compare_templates(const JsonNode& own, const EncodingTemplate& made,
                                           const Vocabulary& vocabulary, const TokenizerSettings& settings) {
  try {
    const EncodingTemplate read = own.value().is_null() ? EncodingTemplate() : read_post_processor(own, vocabulary);
    const auto same = [&](bool pair) { return spelt_out(read.pieces(pair)) == spelt_out(made.pieces(pair)); };
    if (same(false) && same(true)) return {};
  } catch (const Error&) {  // of tokens that are others now, or nothing that we know
  }
  return {own.place() + " frames texts in another way than " + settings.class_name() +
          ", which is followed, as transformers does"};
}

}  // namespace

/// Files of 2020 have no type: WordPiece has a prefix, BPE has merges, Unigram a list of tokens.
std::string tokenizer_model_type(const JsonNode& model) {
  const JsonNode type = model["type"];
  if (!type.value().is_null()) {
    const std::string name = type.value().is_string() ? type.string() : "";
    if (name != "WordPiece" && name != "BPE" && name != "Unigram") {
      type.unsupported("\"WordPiece\", \"BPE\", \"Unigram\"");
    }
    return name;
  }
  if (model.find("merges")) return "BPE";
  if (model["vocab"].value().is_array()) return "Unigram";
  if (model.find("continuing_subword_prefix")) return "WordPiece";
  type.unsupported("\"WordPiece\", \"BPE\", \"Unigram\"");
}

std::pair<std::string, std::string> read_merge(const JsonNode& merge) {
  if (merge.value().is_array()) {
    const JsonElements sides = merge.elements();
    if (sides.size() != 2) merge.mismatch("two tokens");
    return {sides[0].string(), sides[1].string()};
  }
  const std::string text = merge.long_string();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    merge.mismatch("two tokens with a space between them");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

PipelineConfig read_tokenizer_json(const std::filesystem::path& path, const TokenizerSettings& settings) {
  nlohmann::json content = read_strict_json(path);
  const JsonNode document = root(content, path);
  document.at("model");
  AppliedClass applied = apply_tokenizer_class(content, path, settings);
  const JsonNode model = document.at("model");
  const std::string type = tokenizer_model_type(model);

  PipelineConfig config;
  config.warnings = std::move(applied.warnings);
  if (const auto normalizer = document.find("normalizer")) config.normalizer = read_normalizer(*normalizer);
  bool is_byte_level = false;
  if (const auto splitter = document.find("pre_tokenizer")) {
    config.pre_tokenizer = read_pre_tokenizer(*splitter, is_byte_level);
  }
  if (const auto decoder = document.find("decoder")) config.decoder = read_decoder(*decoder);
  if (is_byte_level && type != "BPE") document["pre_tokenizer"]["type"].unsupported("\"ByteLevel\" with \"BPE\" alone");

  Vocabulary vocabulary(path.string() + ": model.vocab");
  SpecialIds& ids = config.special_ids;
  config.model = type == "WordPiece" ? read_wordpiece(model, vocabulary, ids)
                 : type == "BPE"     ? read_bpe(model, is_byte_level, vocabulary, ids)
                                     : read_unigram(model, vocabulary, ids);
  AddedTokenList added(vocabulary);
  if (const auto tokens = document.find("added_tokens")) {
    for (const JsonNode& token : tokens->elements()) added.add(token, token.at("id").natural());
  }
  config.added_tokens = added.take();
  if (const auto processor = document.find("post_processor")) {
    config.post_processor = read_post_processor(*processor, vocabulary);
  }
  if (applied.post_processor) {
    const JsonNode own(*applied.post_processor, path.string() + ": post_processor");
    for (auto& line : compare_templates(own, config.post_processor, vocabulary, settings)) {
      config.warnings.push_back(std::move(line));
    }
  }
  const auto token = [&](const char* role) {
    const auto found = applied.tokens.find(role);
    return found == applied.tokens.end() ? std::nullopt : std::optional(found->second);
  };
  std::optional<std::string> pad = token("pad_token");
  if (const auto padding = document.find("padding"); !pad && padding) pad = padding->at("pad_token").string();
  if (!pad && !first_of(vocabulary, {"[PAD]"})) {
    const auto other = first_of(vocabulary, {"<pad>", token("eos_token"), "<|endoftext|>"});
    ids.pad = other ? *other : vocabulary.at("[PAD]", "padding");
  } else {
    ids.pad = vocabulary.at(pad.value_or("[PAD]"), "padding");
  }
  ids.cls = first_of(vocabulary, {token("cls_token"), "[CLS]", "<s>"});
  ids.sep = first_of(vocabulary, {token("sep_token"), "[SEP]", "</s>"});
  ids.mask = first_of(vocabulary, {token("mask_token"), "[MASK]", "<mask>"});
  if (!ids.unk) ids.unk = first_of(vocabulary, {token("unk_token")});
  take_ids(vocabulary, config);
  if (config.post_processor.trims()) config.spaces = spaces_of(vocabulary);
  return config;
}

}  // namespace compression
