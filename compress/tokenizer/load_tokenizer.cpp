#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "compress/tokenizer/bert_normalizer.h"
#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/unicode.h"
#include "compress/tokenizer/wordpiece.h"
#include "compress/workflow/error.h"

namespace compression {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// In quotes, on one line.
std::string in_quotes(std::string_view text) {
  return json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

bool is_present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || fs::is_directory(path)) throw CheckpointError(path.string() + ": cannot be read");
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) throw CheckpointError(path.string() + ": cannot be read to its end");
  return content;
}

/// Refuses what nlohmann's parser lets pass: a key given twice, and nesting that nobody means.
class StrictKeys {
 public:
  explicit StrictKeys(const fs::path& path) : path_(path) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    constexpr int kMaxDepth = 64;
    if (depth > kMaxDepth) {
      throw CheckpointError(path_.string() + ": found more than " + std::to_string(kMaxDepth) + " levels of nesting");
    }
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw CheckpointError(path_.string() + ": found the key " + in_quotes(key) + " twice, expected each key once");
      }
    }
    return true;
  }

 private:
  const fs::path& path_;
  std::vector<std::unordered_set<std::string>> keys_;
};

json read_json(const fs::path& path) {
  const std::string content = read_file(path);
  StrictKeys strict(path);
  try {
    return json::parse(content, [&](int depth, json::parse_event_t event, const json& parsed) {
      return strict(depth, event, parsed);
    });
  } catch (const json::exception& error) {
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    throw CheckpointError(path.string() + ": found damaged JSON: " + message);
  }
}

/// A JSON value together with where it is, so that an error can say so.
class Node {
 public:
  Node(const json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  const json& value() const { return *value_; }

  /// A null where there is no such key.
  Node operator[](const std::string& key) const {
    static const json null;
    if (!value_->is_object()) mismatch("an object");
    const auto found = value_->find(key);
    return Node(found == value_->end() ? null : *found, place_ + (place_.ends_with(": ") ? "" : ".") + key);
  }

  std::optional<Node> find(const std::string& key) const {
    Node node = (*this)[key];
    return node.value_->is_null() ? std::nullopt : std::optional(std::move(node));
  }

  Node at(const std::string& key) const {
    Node node = (*this)[key];
    if (node.value_->is_null()) node.mismatch("a value");
    return node;
  }

  std::vector<Node> elements() const {
    if (!value_->is_array()) mismatch("an array");
    std::vector<Node> nodes;
    for (const json& element : *value_) nodes.emplace_back(element, place_ + "[" + std::to_string(nodes.size()) + "]");
    return nodes;
  }

  std::string string() const {
    if (!value_->is_string()) mismatch("a string");
    return value_->get<std::string>();
  }

  bool boolean() const {
    if (!value_->is_boolean()) mismatch("true or false");
    return value_->get<bool>();
  }

  bool boolean_or(const std::string& key, bool otherwise) const {
    const auto found = find(key);
    return found ? found->boolean() : otherwise;
  }

  /// A number that fits an id.
  int32_t natural() const {
    if (!is_natural(*value_)) mismatch("a whole number from 0 to " + std::to_string(kMaxNatural));
    return value_->get<int32_t>();
  }

  static bool is_natural(const json& value) {
    return value.is_number_unsigned() && value.get<uint64_t>() <= kMaxNatural;
  }

  [[noreturn]] void mismatch(const std::string& expected) const {
    throw CheckpointError(place_ + ": found " + found() + ", expected " + expected);
  }

  [[noreturn]] void unsupported(const std::string& supported) const {
    throw UnsupportedError(place_ + ": found " + found() + ", supported: " + supported);
  }

 private:
  static constexpr uint64_t kMaxNatural = std::numeric_limits<int32_t>::max() - 1;

  std::string found() const {
    constexpr size_t kShown = 60;
    if (value_->is_null()) return "nothing";
    if (value_->is_object()) return "an object";
    if (value_->is_array()) return "an array of " + std::to_string(value_->size());
    std::string text = value_->dump(-1, ' ', true);
    if (text.size() > kShown) text = text.substr(0, kShown) + "...";
    return text;
  }

  const json* value_;
  std::string place_;
};

Node root(const json& document, const fs::path& path) {
  return Node(document, path.string() + ": ");
}

/// Tokens to ids, both ways unique.
class Vocabulary {
 public:
  explicit Vocabulary(std::string place) : place_(std::move(place)) {}

  void add(const std::string& token, int32_t id) {
    if (!ids_.emplace(token, id).second) {
      throw CheckpointError(place_ + ": found the token " + in_quotes(token) + " twice, expected each token once");
    }
    if (!used_.insert(id).second) {
      throw CheckpointError(place_ + ": found the id " + std::to_string(id) + " twice, the second time at " +
                            in_quotes(token) + ", expected each id once");
    }
  }

  std::optional<int32_t> find(const std::string& token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  int32_t at(const std::string& token, const std::string& role) const {
    if (const auto id = find(token)) return *id;
    throw CheckpointError(place_ + ": found no " + in_quotes(token) + ", expected it as the " + role + " token");
  }

  size_t size() const { return ids_.size(); }

  /// One more than the largest id.
  int64_t end_of_ids() const { return used_.empty() ? 0 : *std::max_element(used_.begin(), used_.end()) + int64_t{1}; }

  std::vector<std::pair<std::string, int32_t>> entries() const { return {ids_.begin(), ids_.end()}; }

 private:
  std::string place_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<int32_t> used_;
};

/// The added tokens of a vocabulary, which they join where they are new.
class AddedTokens {
 public:
  explicit AddedTokens(Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  void add(const Node& node, int32_t id) {
    AddedToken token = {.content = node.at("content").string(),
                        .id = id,
                        .single_word = node.boolean_or("single_word", false),
                        .lstrip = node.boolean_or("lstrip", false),
                        .rstrip = node.boolean_or("rstrip", false),
                        .normalized = node.boolean_or("normalized", !node.boolean_or("special", false))};
    const Node content = node.at("content");
    if (token.content.empty()) content.mismatch("a text");
    if (!contents_.insert(token.content).second) content.mismatch("each added token once");
    const auto known = vocabulary_.find(token.content);
    // Hugging Face numbers new tokens itself, from the size of the vocabulary on.
    const int64_t expected = known ? *known : static_cast<int64_t>(vocabulary_.size());
    if (id != expected) {
      content.mismatch("the token whose id is " + std::to_string(id) + "; this one's is " + std::to_string(expected));
    }
    if (!known) vocabulary_.add(token.content, id);
    tokens_.push_back(std::move(token));
  }

  /// A token of the vocabulary, matched as it stands; no change where it has been added already.
  void add_special(const std::string& content) {
    if (contents_.insert(content).second) tokens_.push_back({.content = content, .id = *vocabulary_.find(content)});
  }

  std::vector<AddedToken> take() { return std::move(tokens_); }

 private:
  Vocabulary& vocabulary_;
  std::unordered_set<std::string> contents_;
  std::vector<AddedToken> tokens_;
};

/// A special token in tokenizer_config.json is a string or an object with its "content".
std::string token_content(const Node& node) {
  return node.value().is_object() ? node.at("content").string() : node.string();
}

/// What tokenizer_config.json says, and special_tokens_map.json where that is silent; both may be absent.
class Settings {
 public:
  explicit Settings(const fs::path& folder) {
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const fs::path path = folder / name;
      if (is_present(path)) documents_.emplace_back(path, read_json(path));
    }
    if (const auto side = find("truncation_side"); side && side->string() != "right") side->unsupported("\"right\"");
  }

  std::optional<Node> find(const std::string& key) const {
    for (const auto& [path, document] : documents_) {
      if (auto found = root(document, path).find(key)) return found;
    }
    return std::nullopt;
  }

  bool boolean_or(const std::string& key, bool otherwise) const {
    const auto found = find(key);
    return found ? found->boolean() : otherwise;
  }

  std::optional<std::string> token(const std::string& key) const {
    const auto found = find(key);
    return found ? std::optional(token_content(*found)) : std::nullopt;
  }

 private:
  std::vector<std::pair<fs::path, json>> documents_;
};

TemplatePiece special_piece(std::vector<int64_t> ids, int64_t type_id) {
  return {.kind = TemplatePiece::Kind::kSpecial, .type_id = type_id, .ids = std::move(ids)};
}

TemplatePiece first_piece(int64_t type_id) {
  return {.kind = TemplatePiece::Kind::kFirst, .type_id = type_id};
}

TemplatePiece second_piece(int64_t type_id) {
  return {.kind = TemplatePiece::Kind::kSecond, .type_id = type_id};
}

/// [CLS] a [SEP] and [CLS] a [SEP] b [SEP], where b and its [SEP] are of type 1.
EncodingTemplate bert_template(int64_t cls, int64_t sep) {
  const SequenceTemplate single = {special_piece({cls}, 0), first_piece(0), special_piece({sep}, 0)};
  SequenceTemplate pair = single;
  pair.push_back(second_piece(1));
  pair.push_back(special_piece({sep}, 1));
  return {single, pair};
}

/// <s> a </s> and <s> a </s></s> b </s>, all of type 0.
EncodingTemplate roberta_template(int64_t cls, int64_t sep) {
  const SequenceTemplate single = {special_piece({cls}, 0), first_piece(0), special_piece({sep}, 0)};
  SequenceTemplate pair = single;
  pair.push_back(special_piece({sep}, 0));
  pair.push_back(second_piece(0));
  pair.push_back(special_piece({sep}, 0));
  return {single, pair};
}

/// The id at `node`, which has to be that of `token`.
int64_t checked_id(const Node& node, const std::string& token, const Vocabulary& vocabulary) {
  const auto known = vocabulary.find(token);
  if (!known) node.mismatch("the id of " + in_quotes(token) + ", which is not in the vocabulary");
  if (node.natural() != *known) {
    node.mismatch(std::to_string(*known) + ", the id of " + in_quotes(token) + " in the vocabulary");
  }
  return *known;
}

/// The id in ["[SEP]", 102].
int64_t id_of_token_and_id(const Node& node, const Vocabulary& vocabulary) {
  const std::vector<Node> parts = node.elements();
  if (parts.size() != 2) node.mismatch("a token and its id");
  return checked_id(parts[1], parts[0].string(), vocabulary);
}

TemplatePiece read_template_piece(const Node& piece, const Node& special_tokens, const Vocabulary& vocabulary) {
  if (const auto sequence = piece.find("Sequence")) {
    const Node id = sequence->at("id");
    const int64_t type_id = sequence->at("type_id").natural();
    if (id.value() == "A") return first_piece(type_id);
    if (id.value() == "B") return second_piece(type_id);
    id.mismatch("\"A\" or \"B\"");
  }
  if (const auto special = piece.find("SpecialToken")) {
    const Node definition = special_tokens.at(special->at("id").string());
    const std::vector<Node> ids = definition.at("ids").elements();
    const std::vector<Node> tokens = definition.at("tokens").elements();
    if (ids.size() != tokens.size()) definition.mismatch("as many ids as tokens");
    TemplatePiece result = special_piece({}, special->at("type_id").natural());
    for (size_t i = 0; i < ids.size(); ++i) {
      result.ids.push_back(checked_id(ids[i], tokens[i].string(), vocabulary));
    }
    return result;
  }
  piece.mismatch("a \"Sequence\" or a \"SpecialToken\"");
}

SequenceTemplate read_template(const Node& pieces, const Node& special_tokens, const Vocabulary& vocabulary,
                               int texts) {
  SequenceTemplate result;
  for (const Node& piece : pieces.elements()) {
    result.push_back(read_template_piece(piece, special_tokens, vocabulary));
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

EncodingTemplate read_post_processor(const Node& document, const Vocabulary& vocabulary) {
  const Node processor = document["post_processor"];
  const Node type = processor.value().is_null() ? processor : processor.at("type");
  if (type.value() == "TemplateProcessing") {
    const Node special_tokens = processor.at("special_tokens");
    return {read_template(processor.at("single"), special_tokens, vocabulary, 1),
            read_template(processor.at("pair"), special_tokens, vocabulary, 2)};
  }
  if (type.value() == "BertProcessing" || type.value() == "RobertaProcessing") {
    const int64_t cls = id_of_token_and_id(processor.at("cls"), vocabulary);
    const int64_t sep = id_of_token_and_id(processor.at("sep"), vocabulary);
    return type.value() == "BertProcessing" ? bert_template(cls, sep) : roberta_template(cls, sep);
  }
  type.unsupported("\"TemplateProcessing\", \"BertProcessing\", \"RobertaProcessing\"");
}

std::shared_ptr<const Normalizer> read_normalizer(const Node& document) {
  const auto normalizer = document.find("normalizer");
  if (!normalizer) return nullptr;
  const Node type = normalizer->at("type");
  if (type.value() != "BertNormalizer") type.unsupported("\"BertNormalizer\"");
  const bool lowercase = normalizer->at("lowercase").boolean();
  return std::make_shared<BertNormalizer>(
      BertNormalizerOptions{.clean_text = normalizer->at("clean_text").boolean(),
                            .handle_chinese_chars = normalizer->at("handle_chinese_chars").boolean(),
                            .strip_accents = normalizer->boolean_or("strip_accents", lowercase),
                            .lowercase = lowercase});
}

void read_vocabulary(const Node& tokens, Vocabulary& vocabulary) {
  if (!tokens.value().is_object()) tokens.mismatch("an object of tokens and ids");
  for (const auto& [token, id] : tokens.value().items()) {
    vocabulary.add(token, Node::is_natural(id) ? id.get<int32_t>() : tokens[token].natural());
  }
}

PipelineConfig read_tokenizer_json(const fs::path& path, const Settings& settings) {
  const json content = read_json(path);
  const Node document = root(content, path);

  const Node model = document.at("model");
  if (const auto type = model.find("type")) {
    if (type->value() != "WordPiece") type->unsupported("\"WordPiece\"");
  } else if (!model.find("continuing_subword_prefix") || model.find("merges")) {
    // Files of 2020 have no type: a WordPiece model is then the one with a prefix and without merges.
    model["type"].unsupported("\"WordPiece\"");
  }
  PipelineConfig config;
  config.normalizer = read_normalizer(document);
  const Node pre_tokenizer = document["pre_tokenizer"];
  const Node splitter = pre_tokenizer.value().is_null() ? pre_tokenizer : pre_tokenizer.at("type");
  if (splitter.value() != "BertPreTokenizer") splitter.unsupported("\"BertPreTokenizer\"");

  config.pre_tokenizer = std::make_shared<BertPreTokenizer>();

  WordPieceConfig wordpiece = {.unknown_token = model.at("unk_token").string(),
                               .continuing_prefix = model.at("continuing_subword_prefix").string(),
                               .max_characters_per_word = model.at("max_input_chars_per_word").natural()};
  Vocabulary vocabulary(path.string() + ": model.vocab");
  read_vocabulary(model.at("vocab"), vocabulary);
  config.special_ids.unk = vocabulary.at(wordpiece.unknown_token, "unknown");
  wordpiece.vocabulary = vocabulary.entries();
  config.model = std::make_shared<WordPiece>(std::move(wordpiece));

  AddedTokens added(vocabulary);
  if (const auto tokens = document.find("added_tokens")) {
    for (const Node& token : tokens->elements()) added.add(token, token.at("id").natural());
  }
  config.added_tokens = added.take();
  config.post_processor = read_post_processor(document, vocabulary);
  std::optional<std::string> pad = settings.token("pad_token");
  if (const auto padding = document.find("padding"); !pad && padding) pad = padding->at("pad_token").string();
  config.special_ids.pad = vocabulary.at(pad.value_or("[PAD]"), "padding");
  config.special_ids.cls = vocabulary.find(settings.token("cls_token").value_or("[CLS]"));
  config.special_ids.sep = vocabulary.find(settings.token("sep_token").value_or("[SEP]"));
  config.special_ids.mask = vocabulary.find(settings.token("mask_token").value_or("[MASK]"));
  config.vocabulary_size = vocabulary.end_of_ids();
  return config;
}

/// One token a line; its id is the line's number, from 0.
void read_vocabulary_lines(const fs::path& path, Vocabulary& vocabulary) {
  const std::string content = read_file(path);
  if (!unicode::is_valid(content)) throw CheckpointError(path.string() + ": found bytes that are not UTF-8");
  std::string_view rest = content;
  for (int32_t id = 0; !rest.empty(); ++id) {
    const size_t end = rest.find('\n');
    vocabulary.add(std::string(unicode::trim_end(rest.substr(0, end))), id);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
}

void read_added_tokens_decoder(const Node& decoder, AddedTokens& added) {
  if (!decoder.value().is_object()) decoder.mismatch("an object of ids and tokens");
  constexpr size_t kMaxDigits = 9;
  std::map<int32_t, Node> tokens;  // in the order of ids, in which new tokens are numbered
  for (const auto& item : decoder.value().items()) {
    const std::string& id = item.key();
    const Node token = decoder[id];
    if (id.empty() || id.size() > kMaxDigits || id.find_first_not_of("0123456789") != std::string::npos) {
      token.mismatch("an id as its key");
    }
    tokens.emplace(std::stoi(id), token);
  }
  for (const auto& [id, token] : tokens) added.add(token, id);
}

PipelineConfig read_vocab_txt(const fs::path& path, const Settings& settings) {
  if (const auto tokenizer_class = settings.find("tokenizer_class")) {
    const std::vector<std::string> supported = {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
                                                "MobileBertTokenizer"};
    std::string name = tokenizer_class->string();
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    if (std::find(supported.begin(), supported.end(), name) == supported.end()) {
      tokenizer_class->unsupported("tokenizer.json, or vocab.txt of Bert, DistilBert, Electra or MobileBert");
    }
  }
  PipelineConfig config;
  const bool lowercase = settings.boolean_or("do_lower_case", true);
  config.normalizer = std::make_shared<BertNormalizer>(
      BertNormalizerOptions{.clean_text = true,
                            .handle_chinese_chars = settings.boolean_or("tokenize_chinese_chars", true),
                            .strip_accents = settings.boolean_or("strip_accents", lowercase),
                            .lowercase = lowercase});
  config.pre_tokenizer = std::make_shared<BertPreTokenizer>();
  Vocabulary vocabulary(path.string());
  read_vocabulary_lines(path, vocabulary);
  WordPieceConfig wordpiece = {.vocabulary = vocabulary.entries()};

  AddedTokens added(vocabulary);
  const fs::path unplaced = path.parent_path() / "added_tokens.json";
  if (const auto decoder = settings.find("added_tokens_decoder")) {
    read_added_tokens_decoder(*decoder, added);
  } else if (is_present(unplaced)) {
    throw UnsupportedError(unplaced.string() +
                           ": found next to vocab.txt, supported: tokenizer.json, or \"added_tokens_decoder\" in "
                           "tokenizer_config.json");
  }
  const auto special_token = [&](const std::string& content, const std::string& role) {
    const int32_t id = vocabulary.at(content, role);
    added.add_special(content);
    return id;
  };
  wordpiece.unknown_token = settings.token("unk_token").value_or("[UNK]");
  SpecialIds& ids = config.special_ids;
  ids.unk = special_token(wordpiece.unknown_token, "unknown");
  ids.cls = special_token(settings.token("cls_token").value_or("[CLS]"), "classification");
  ids.sep = special_token(settings.token("sep_token").value_or("[SEP]"), "separator");
  ids.pad = special_token(settings.token("pad_token").value_or("[PAD]"), "padding");
  const std::string mask = settings.token("mask_token").value_or("[MASK]");
  ids.mask = vocabulary.find(mask);
  if (ids.mask) added.add_special(mask);  // only pretraining needs it
  if (const auto additional = settings.find("additional_special_tokens")) {
    for (const Node& token : additional->elements()) special_token(token_content(token), "additional special");
  }
  config.model = std::make_shared<WordPiece>(std::move(wordpiece));
  config.added_tokens = added.take();
  config.post_processor = bert_template(*ids.cls, *ids.sep);
  config.vocabulary_size = vocabulary.end_of_ids();
  return config;
}

PipelineConfig read_any(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw CheckpointError(folder.string() + ": found no such folder, expected one with tokenizer.json or vocab.txt");
  }
  const Settings settings(folder);
  if (is_present(folder / "tokenizer.json")) return read_tokenizer_json(folder / "tokenizer.json", settings);
  if (is_present(folder / "vocab.txt")) return read_vocab_txt(folder / "vocab.txt", settings);
  for (const char* other : {"vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"}) {
    if (is_present(folder / other)) {
      throw UnsupportedError((folder / other).string() +
                             ": found another kind of tokenizer, supported: WordPiece in tokenizer.json or vocab.txt");
    }
  }
  throw CheckpointError(folder.string() + ": found no tokenizer, expected tokenizer.json or vocab.txt");
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& folder) {
  PipelineConfig config = read_any(folder);
  config.folder = folder;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"}) {
    if (is_present(folder / name)) config.files.emplace_back(name);
  }
  return std::make_shared<TokenizerPipeline>(std::move(config));
}

}  // namespace compression
