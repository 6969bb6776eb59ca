#include "compress/tokenizer/tokenizer_class.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "compress/tokenizer/tokenizer_json.h"  // tokenizer_model_type
#include "compress/tokenizer/vocabulary.h"      // read_added_token

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kMetaspace = "\u2581";

std::string_view model_of(TokenizerRules rules) {
  using enum TokenizerRules;
  if (rules == word_pieces || rules == word_pieces_marks) return "WordPiece";
  return rules == bytes || rules == bytes_marks ? "BPE" : "Unigram";
}

/// A part of tokenizer.json without what has another spelling of the same: keys that are absent for their defaults, and
/// sequences of one step.
json canonical(const json& part) {
  if (!part.is_object()) return part;
  for (const char* steps : {"normalizers", "pretokenizers"}) {
    const auto found = part.find(steps);
    if (found == part.end() || !found->is_array()) continue;
    json all = json::array();
    for (const json& step : *found) {
      if (json own = canonical(step); !own.is_null()) all.push_back(std::move(own));
    }
    if (all.empty()) return nullptr;
    return all.size() == 1 ? all.front() : all;
  }
  const std::string type = part.value("type", json()).is_string() ? part.at("type").get<std::string>() : "";
  if (type == "Precompiled" && part.value("precompiled_charsmap", json()).is_null()) return nullptr;
  if (type == "ByteLevel") {
    return {{"type", type},
            {"add_prefix_space", part.value("add_prefix_space", json(true))},
            {"use_regex", part.value("use_regex", json(true))}};
  }
  if (type == "Metaspace") {
    const json prefix = part.value("add_prefix_space", json(true));
    json scheme = part.value("prepend_scheme", json());
    if (scheme.is_null()) scheme = prefix == false ? "never" : "always";
    return {{"type", type},
            {"replacement", part.value("replacement", json())},
            {"prepend_scheme", std::move(scheme)},
            {"split", part.value("split", json(true))}};
  }
  return part;
}

/// A number as JSON files have it, which has no sign.
json natural(int64_t number) {
  return static_cast<uint64_t>(number);
}

/// The added token of a JSON value, as tokenizer.json has them.
json added_token_json(const AddedToken& token, int64_t id, bool special) {
  return {{"id", natural(id)},      {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip}, {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", special}};
}

bool same_flags(const json& a, const json& b) {
  const auto flag = [](const json& token, const char* key) { return token.value(key, json(false)) == true; };
  const auto normalized = [&](const json& token) {
    const auto found = token.find("normalized");
    return found == token.end() || found->is_null() ? !flag(token, "special") : *found == true;
  };
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    if (flag(a, key) != flag(b, key)) return false;
  }
  return normalized(a) == normalized(b);
}

class Rebuilder {
 public:
  Rebuilder(json& document, const fs::path& path, const TokenizerSettings& settings)
      : document_(document), path_(path), settings_(settings) {
    const auto model = document_.is_object() ? document_.find("model") : document_.end();
    if (model == document_.end() || !model->is_object()) return;  // told by who reads it
    class_ = settings_.tokenizer_class();
    if (class_) {
      if (const auto type = tokenizer_model_type(root(document_, path_).at("model")); type != model_of(class_->rules)) {
        warn(fmt::format("its model is {}, but {}'s is {}: the file is taken as it is", type, settings_.class_name(),
                         model_of(class_->rules)));
        class_ = nullptr;
      }
    }
    auto tokens = class_ ? class_->tokens : SpecialTokens();
    for (const auto& [role, token] : tokens.roles()) {
      roles_.emplace_back(role);
      if (!token->empty()) result_.tokens[role] = *token;
      if (const auto named = settings_.token(role)) result_.tokens[role] = *named;
    }
    merge_added_tokens();
    if (class_) {
      build();
    } else {
      tell_unused_settings();
    }
  }

  AppliedClass take() { return std::move(result_); }

 private:
  void warn(const std::string& what) { result_.warnings.push_back(path_.string() + ": " + what); }

  // ---- added tokens

  std::optional<int64_t> vocabulary_id(const std::string& token) const {
    const auto vocabulary = document_["model"].find("vocab");
    if (vocabulary == document_["model"].end()) return std::nullopt;
    if (vocabulary->is_object()) {
      const auto found = vocabulary->find(token);
      return found != vocabulary->end() && JsonNode::is_natural(*found) ? std::optional(found->get<int64_t>())
                                                                        : std::nullopt;
    }
    const json wanted = token;
    std::optional<int64_t> last;  // of a piece that is there twice the second is known
    for (size_t id = 0; id < vocabulary->size(); ++id) {
      const json& piece = (*vocabulary)[id];
      if (piece.is_array() && !piece.empty() && piece.front() == wanted) last = static_cast<int64_t>(id);
    }
    return last;
  }

  json* find_added(const std::string& content) {
    const json wanted = content;
    for (json& token : document_["added_tokens"]) {
      const auto found = token.is_object() ? token.find("content") : token.end();
      if (found != token.end() && *found == wanted) return &token;
    }
    return nullptr;
  }

  int64_t id_of(const std::string& content) {
    if (const auto id = vocabulary_id(content)) return *id;
    const json* added = find_added(content);
    const json id = added == nullptr ? json() : added->value("id", json());
    if (JsonNode::is_natural(id)) return id.get<int64_t>();
    throw CheckpointError(
        fmt::format("{}: found no {}, which {} needs", path_.string(), in_quotes(content), settings_.class_name()));
  }

  /// The id that a token gets which joins the others: its own in the vocabulary, or the next.
  int64_t next_id(const std::string& content) {
    if (const auto id = vocabulary_id(content)) return *id;
    const auto vocabulary = document_["model"].find("vocab");
    int64_t next = vocabulary == document_["model"].end() ? 0 : static_cast<int64_t>(vocabulary->size());
    for (const json& token : document_["added_tokens"]) {
      const json id = token.is_object() ? token.value("id", json()) : json();
      if (JsonNode::is_natural(id)) next = std::max(next, id.get<int64_t>() + 1);
    }
    return next;
  }

  /// Adds a token, or gives one that is there other flags.
  void add(const AddedToken& token, bool special) {
    json* known = find_added(token.content);
    const auto id = known != nullptr ? known->value("id", int64_t{0}) : next_id(token.content);
    json entry = added_token_json(token, id, special);
    if (known == nullptr) {
      document_["added_tokens"].push_back(std::move(entry));
    } else if (!same_flags(*known, entry)) {
      *known = std::move(entry);
    }
  }

  /// A special token as it is where no file lists it with flags.
  AddedToken special_token(const std::string& role, const std::string& content) const {
    auto token = settings_.special_token(role).value_or(AddedToken{.content = content});
    if (role == "mask_token" && class_ && class_->tokens.mask_takes_space && !settings_.has_flags(role))
      token.lstrip = true;
    return token;
  }

  void merge_added_tokens() {
    json& list = document_["added_tokens"];
    if (list.is_null()) list = json::array();
    if (!list.is_array()) return;  // told by who reads it
    const json before = list;
    if (settings_.find("added_tokens_decoder")) {
      if (class_) list = json::array();  // a class that builds its tokenizer anew reads the other list only
      for (const auto& [id, token] : settings_.added_tokens_decoder()) add(read_added_token(token), false);
    } else {
      for (const auto& [content, id] : settings_.added_tokens_file()) {
        bool special = false;
        for (const auto& [role, token] : result_.tokens) special = special || token == content;
        if (find_added(content) == nullptr) add({.content = content, .normalized = !special}, special);
      }
    }
    for (const auto& role : roles_) {
      const auto token = result_.tokens.find(role);
      if (token == result_.tokens.end() || find_added(token->second) != nullptr) continue;
      add(special_token(role, token->second), true);
    }
    auto extra = settings_.extra_tokens();
    if (extra.empty() && class_ && class_->rules == TokenizerRules::unigram_unused) {
      for (const char* content : {"<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"}) extra.push_back({.content = content});
    }
    for (const auto& token : extra) {
      if (find_added(token.content) == nullptr) add(token, true);
    }
    tell_added_tokens(before);
  }

  void tell_added_tokens(const json& before) {
    std::vector<std::string> gone, changed, unknown;
    std::set<std::string> known;
    for (const json& token : before) {
      const json content = token.is_object() ? token.value("content", json()) : json();
      if (!content.is_string()) continue;  // told by who reads it
      const auto text = content.get<std::string>();
      known.insert(text);
      const json* now = find_added(text);
      if (now == nullptr) {
        gone.push_back(in_quotes(text));
      } else if (now->value("id", json()) != token.value("id", json()) || !same_flags(*now, token)) {
        changed.push_back(in_quotes(text));
      }
    }
    for (const json& token : document_["added_tokens"]) {
      const json content = token.is_object() ? token.value("content", json()) : json();
      if (!content.is_string() || known.contains(content.get<std::string>())) continue;
      const auto text = content.get<std::string>();
      if (!vocabulary_id(text)) unknown.push_back(fmt::format("{} ({})", in_quotes(text), id_of(text)));
    }
    const auto tell = [&](const std::vector<std::string>& tokens, std::string_view what) {
      constexpr size_t shown = 5;
      if (tokens.empty()) return;
      const std::vector<std::string> first(
          tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(std::min(tokens.size(), shown)));
      warn(fmt::format("{}: {}{}", what, fmt::join(first, ", "), tokens.size() > shown ? ", ..." : ""));
    };
    const auto& place = settings_.place();
    tell(gone, fmt::format("added tokens that are not in \"added_tokens_decoder\" of {} are not looked for, as {} does",
                           place, settings_.class_name()));
    tell(changed, fmt::format("added tokens whose id or flags are others in {} are taken from there", place));
    tell(unknown, fmt::format("it lacks tokens that the files beside it name or {} has, which get the next ids",
                              settings_.class_name()));
  }

  // ---- the parts of a class

  json special_piece_json(const std::string& content, int type_id) const {
    return {{"SpecialToken", {{"id", content}, {"type_id", natural(type_id)}}}};
  }
  static json text_piece(const char* name, int type_id) {
    return {{"Sequence", {{"id", name}, {"type_id", natural(type_id)}}}};
  }

  json template_json(const json& single, const json& pair, std::initializer_list<std::string> contents) {
    json special = json::object();
    for (const auto& content : contents) {
      special[content] = {
          {"id", content}, {"ids", json::array({natural(id_of(content))})}, {"tokens", json::array({content})}};
    }
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
  }

  /// [CLS] a [SEP] and [CLS] a [SEP] b [SEP], the second text of type 1.
  json brackets_template() {
    const auto &cls = result_.tokens.at("cls_token"), &sep = result_.tokens.at("sep_token");
    const json begin = special_piece_json(cls, 0), middle = special_piece_json(sep, 0);
    return template_json(
        json::array({begin, text_piece("A", 0), middle}),
        json::array({begin, text_piece("A", 0), middle, text_piece("B", 1), special_piece_json(sep, 1)}), {cls, sep});
  }

  /// <s> a </s> and <s> a </s></s> b </s>, all of type 0.
  json marks_template() {
    const auto &begin = result_.tokens.at("bos_token"), &end = result_.tokens.at("eos_token");
    const json first = special_piece_json(begin, 0), last = special_piece_json(end, 0);
    return template_json(json::array({first, text_piece("A", 0), last}),
                         json::array({first, text_piece("A", 0), last, last, text_piece("B", 0), last}), {begin, end});
  }

  json marks_processing(bool trim_offsets, bool add_prefix_space) {
    const auto &cls = result_.tokens.at("cls_token"), &sep = result_.tokens.at("sep_token");
    return {{"type", "RobertaProcessing"},
            {"sep", json::array({sep, natural(id_of(sep))})},
            {"cls", json::array({cls, natural(id_of(cls))})},
            {"trim_offsets", trim_offsets},
            {"add_prefix_space", add_prefix_space}};
  }

  json words_normalizer() const {
    const auto strip = settings_.find("strip_accents");
    return {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", settings_.boolean_or("tokenize_chinese_chars", true)},
            {"strip_accents", strip ? json(strip->boolean()) : json()},
            {"lowercase", settings_.boolean_or("do_lower_case", true)}};
  }

  /// The first table of a sentencepiece model that the file has.
  json precompiled() const {
    const json normalizer = document_.value("normalizer", json());
    if (!normalizer.is_object()) return nullptr;
    const json steps = normalizer.value("type", json()) == "Sequence" ? normalizer.value("normalizers", json())
                                                                      : json::array({normalizer});
    for (const json& step : steps) {
      if (step.is_object() && step.value("type", json()) == "Precompiled" && step.contains("precompiled_charsmap")) {
        return step;
      }
    }
    return nullptr;
  }

  static json step(const char* type) {
    json made = json::object();
    made["type"] = type;
    return made;
  }
  static json sequence(const char* key, json steps) { return {{"type", "Sequence"}, {key, std::move(steps)}}; }

  static json metaspace(const char* scheme) {
    return {{"type", "Metaspace"}, {"replacement", kMetaspace}, {"prepend_scheme", scheme}, {"split", true}};
  }
  json words_then_metaspace() const {
    const char* scheme = settings_.boolean_or("add_prefix_space", true) ? "always" : "never";
    return sequence("pretokenizers", json::array({step("WhitespaceSplit"), metaspace(scheme)}));
  }

  json alwords_normalizer() const {
    json steps = json::array({{{"type", "Replace"}, {"pattern", {{"String", "``"}}}, {"content", "\""}},
                              {{"type", "Replace"}, {"pattern", {{"String", "''"}}}, {"content", "\""}}});
    if (!settings_.boolean_or("keep_accents", false)) {
      steps.push_back(step("NFKD"));
      steps.push_back(step("StripAccents"));
    }
    if (settings_.boolean_or("do_lower_case", true)) steps.push_back(step("Lowercase"));
    if (json table = precompiled(); !table.is_null()) steps.push_back(std::move(table));
    return sequence("normalizers", std::move(steps));
  }

  json spaces_normalizer() const {
    json steps = json::array();
    if (settings_.boolean_or("do_lower_case", false)) steps.push_back(step("Lowercase"));
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", "\\s{2,}|[\\n\\r\\t]"}}}, {"content", " "}});
    steps.push_back(step("NFC"));
    steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
    return sequence("normalizers", std::move(steps));
  }
  json spaces_splitter() const {
    json steps = json::array();
    if (settings_.boolean_or("split_by_punct", false)) {
      steps.push_back({{"type", "Punctuation"}, {"behavior", "Isolated"}});
    }
    steps.push_back(metaspace(settings_.boolean_or("add_prefix_space", true) ? "always" : "first"));
    return sequence("pretokenizers", std::move(steps));
  }

  /// The unknown piece by its text and a score of 0.
  json unknown_by_score() const {
    const json wanted = json::array({result_.tokens.at("unk_token"), 0.0});
    const json& model = document_["model"];
    const auto vocabulary = model.find("vocab");
    for (size_t id = 0; vocabulary != model.end() && vocabulary->is_array() && id < vocabulary->size(); ++id) {
      if ((*vocabulary)[id] == wanted) return id;
    }
    const auto id = settings_.find("unk_id");
    return id ? natural(id->natural()) : natural(1);
  }

  void build() {
    using enum TokenizerRules;
    switch (class_->rules) {
      case word_pieces:
      case word_pieces_marks:
        set("normalizer", words_normalizer());
        set("pre_tokenizer", step("BertPreTokenizer"));
        set_model({{"unk_token", result_.tokens.at("unk_token")},
                   {"continuing_subword_prefix", "##"},
                   {"max_input_chars_per_word", natural(100)}});
        return set_post_processor(class_->rules == word_pieces ? brackets_template() : marks_processing(true, false));
      case bytes:
      case bytes_marks: {
        const bool prefix = settings_.boolean_or("add_prefix_space", false);
        set("normalizer", nullptr);
        set("pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"use_regex", true}});
        set_model({{"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false}});
        if (class_->rules == bytes) return;
        return set_post_processor(marks_processing(settings_.boolean_or("trim_offsets", true), prefix));
      }
      case unigram_marks:
      case unigram_unused: {
        set("normalizer", precompiled());
        set("pre_tokenizer", words_then_metaspace());
        const auto unknown =
            class_->rules == unigram_unused ? vocabulary_id(result_.tokens.at("unk_token")).value_or(0) : 3;
        set_model({{"unk_id", natural(unknown)}, {"byte_fallback", false}});
        return set_post_processor(marks_template());
      }
      case unigram_quotes:
        set("normalizer", alwords_normalizer());
        set("pre_tokenizer", words_then_metaspace());
        return set_model({{"unk_id", natural(1)}, {"byte_fallback", false}});
      case unigram_spaces:
        set("normalizer", spaces_normalizer());
        set("pre_tokenizer", spaces_splitter());
        set_model({{"unk_id", unknown_by_score()}, {"byte_fallback", false}});
        return set_post_processor(brackets_template());
    }
  }

  void tell_difference(const std::string& key, const json& own, const json& made) {
    const auto shown = [](const json& value) {
      if (value.is_null()) return std::string("nothing");
      return value.is_object()  ? value.value("type", json("another")).dump(-1, ' ', true)
             : value.is_array() ? fmt::format("{} steps", value.size())
                                : value.dump(-1, ' ', true);
    };
    warn(
        fmt::format("{} is {}, but {} is followed, as transformers does, with its settings in tokenizer_config.json "
                    "or its defaults: {}",
                    key, shown(own), settings_.class_name(), shown(made)));
  }

  void set(const char* part, json made) {
    const json own = document_.value(part, json());
    const json before = canonical(own), after = canonical(made);
    if (before != after) {
      const auto type = [](const json& value) { return value.is_object() ? value.value("type", json()) : json(); };
      const bool fields = after.is_object() && type(before) == type(after);
      if (!fields) tell_difference(part, before, after);
      for (auto field = after.begin(); fields && field != after.end(); ++field) {
        const json old = before.value(field.key(), json());
        if (old != *field) tell_difference(fmt::format("{}.{}", part, field.key()), old, *field);
      }
    }
    document_[part] = std::move(made);
  }

  void set_model(const json& made) {
    json& model = document_["model"];
    for (const auto& [key, value] : made.items()) {
      const json own = model.value(key, json());
      const bool nothing = own.is_null() || own == false || own == json("") || own == 0.0;
      const bool none = value.is_null() || value == false;
      if (own != value && !(nothing && none)) tell_difference("model." + key, own, value);
      model[key] = value;
    }
    if (const auto type = model_of(class_->rules); type != "BPE") model["type"] = type;
  }

  /// Compared by who reads it, with the ids of both.
  void set_post_processor(json made) {
    result_.post_processor = document_.value("post_processor", json());
    document_["post_processor"] = std::move(made);
  }

  // ---- a file that is taken as it is

  void tell_unused_settings() {
    const json normalizer = document_.value("normalizer", json()), splitter = document_.value("pre_tokenizer", json());
    const auto tell = [&](const char* setting, const json& part, const char* type, const char* key, const char* name) {
      const auto found = settings_.find(setting);
      if (!found || !found->value().is_boolean() || !part.is_object() || part.value("type", json()) != type) return;
      const json own = part.value(key, json());
      if (own == found->value() || own.is_null()) return;
      warn(fmt::format("{}.{} is {}, and {} of {} is {}, which {} does not read", name, key, own.dump(), setting,
                       settings_.place(), found->value().dump(), settings_.class_name()));
    };
    tell("do_lower_case", normalizer, "BertNormalizer", "lowercase", "normalizer");
    tell("strip_accents", normalizer, "BertNormalizer", "strip_accents", "normalizer");
    tell("tokenize_chinese_chars", normalizer, "BertNormalizer", "handle_chinese_chars", "normalizer");
    tell("add_prefix_space", splitter, "ByteLevel", "add_prefix_space", "pre_tokenizer");
  }

  json& document_;
  const fs::path& path_;
  const TokenizerSettings& settings_;
  const TokenizerClass* class_ = nullptr;  // that builds a tokenizer anew; null: the file is taken as it is
  std::vector<std::string> roles_;         // of special tokens, in the order in which they are added
  AppliedClass result_;
};

}  // namespace

AppliedClass apply_tokenizer_class(json& document, const fs::path& path, const TokenizerSettings& settings) {
  auto result = Rebuilder(document, path, settings).take();
  const auto& of_settings = settings.warnings();
  result.warnings.insert(result.warnings.begin(), of_settings.begin(), of_settings.end());
  return result;
}

}  // namespace compression
