#include "compress/tokenizer/tokenizer_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "compress/tokenizer/vocabulary.h"

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kSettings = "tokenizer_config.json";
constexpr const char* kSpecialTokens = "special_tokens_map.json";
constexpr int64_t kMostTokens = int64_t{1} << 30;  // transformers writes 10^30 for no limit

json read_if_present(const fs::path& path) {
  return is_present(path) ? read_strict_json(path) : json();
}

/// The text of a special token, which is a string or an object.
json content_of(const json& token) {
  return token.is_object() ? token.value("content", json()) : token;
}

}  // namespace

AddedToken read_special_token(const JsonNode& node) {
  if (!node.value().is_object()) return {.content = node.string()};
  AddedToken token = read_added_token(node);
  token.normalized = false;
  return token;
}

TokenizerSettings::TokenizerSettings(const fs::path& folder, const std::vector<TokenizerClass>& classes)
    : folder_(folder), classes_(classes) {
  json settings = read_if_present(folder / kSettings), map = read_if_present(folder / kSpecialTokens);
  if (map.is_object()) {
    const bool map_is_read = !settings.is_object() || settings.value("added_tokens_decoder", json()).is_null();
    compare_special_tokens(settings, map, map_is_read);
    if (map_is_read) documents_.emplace_back(folder / kSpecialTokens, std::move(map));
  } else if (!map.is_null()) {
    documents_.emplace_back(folder / kSpecialTokens, std::move(map));  // find() says what is wrong with it
  }
  if (!settings.is_null()) documents_.emplace_back(folder / kSettings, std::move(settings));
  if (const auto side = find("truncation_side"); side && side->string() != "right") side->unsupported("\"right\"");
  if (const auto named = find("tokenizer_class")) {
    named_ = named->string();
    named_where_ = (folder / kSettings).string() + ": tokenizer_class: found " + in_quotes(*named_);
  }
  read_config();
  if (!named_) return;
  for (const std::string_view ending : {"Fast", "Tokenizer"}) {
    if (named_->ends_with(ending)) *named_ = named_->substr(0, named_->size() - ending.size());
  }
}

void TokenizerSettings::compare_special_tokens(const json& settings, const json& map, bool map_is_read) {
  if (!settings.is_object()) return;
  for (const auto& [key, token] : map.items()) {
    const json own = content_of(settings.value(key, json())), other = content_of(token);
    if (!own.is_string() || !other.is_string() || own == other) continue;
    const auto said = [&](bool by_map) {
      return (folder_ / (by_map ? kSpecialTokens : kSettings)).string() + " says " +
             in_quotes((by_map ? other : own).get<std::string>());
    };
    warnings_.push_back(said(!map_is_read) + " for " + key + ", but " + said(map_is_read) +
                        ", which is followed, as transformers does");
  }
}

/// What the model's config.json says of its tokenizer. A config.json that is not in order is told by who reads the
/// model, unless the class has to be known from it.
void TokenizerSettings::read_config() {
  const fs::path path = folder_ / "config.json";
  if (!is_present(path)) return;
  json document;
  try {
    document = read_strict_json(path);
  } catch (const CheckpointError&) {
    if (!named_) throw;
  }
  if (!document.is_object()) return;
  const json rows = document.value("vocab_size", json());
  if (JsonNode::is_natural(rows)) model_rows_ = rows.get<int64_t>();
  if (named_) return;
  if (const auto named = root(document, path).find("tokenizer_class")) {
    named_ = named->string();
    named_where_ = path.string() + ": tokenizer_class: found " + in_quotes(*named_);
    return;
  }
  const auto type = root(document, path).find("model_type");
  if (!type) return;
  const auto found = std::ranges::find(classes_, std::string_view(type->string()), &TokenizerClass::model_type);
  if (found != classes_.end() && !found->model_type.empty()) named_ = found->name;
  named_where_ = path.string() + ": model_type: found " + in_quotes(type->string());
}

std::optional<JsonNode> TokenizerSettings::find(const std::string& key) const {
  for (const auto& [path, document] : documents_) {
    if (auto found = root(document, path).find(key)) return found;
  }
  return std::nullopt;
}

bool TokenizerSettings::boolean_or(const std::string& key, bool otherwise) const {
  const auto found = find(key);
  return found ? found->boolean() : otherwise;
}

std::map<int64_t, JsonNode> TokenizerSettings::added_tokens_decoder() const {
  std::map<int64_t, JsonNode> by_id;  // in the order of ids, in which new tokens are numbered
  const auto decoder = find("added_tokens_decoder");
  if (!decoder) return by_id;
  if (!decoder->value().is_object()) decoder->mismatch("an object of ids and tokens");
  constexpr size_t kMaxDigits = 9;
  for (const auto& item : decoder->value().items()) {
    const std::string& id = item.key();
    const JsonNode token = (*decoder)[id];
    if (id.empty() || id.size() > kMaxDigits || id.find_first_not_of("0123456789") != std::string::npos) {
      token.mismatch("an id as its key");
    }
    by_id.emplace(std::stoll(id), token);
  }
  return by_id;
}

std::vector<std::pair<std::string, int64_t>> TokenizerSettings::added_tokens_file() const {
  std::vector<std::pair<std::string, int64_t>> tokens;
  const fs::path path = folder_ / "added_tokens.json";
  const json document = read_if_present(path);
  if (document.is_null()) return tokens;
  const JsonNode all = root(document, path);
  if (!document.is_object()) all.mismatch("an object of tokens and ids");
  for (const auto& [content, id] : document.items()) tokens.emplace_back(content, all[content].natural());
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return tokens;
}

std::vector<AddedToken> TokenizerSettings::extra_tokens() const {
  std::vector<AddedToken> tokens;
  for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
    const auto found = find(key);
    if (!found || found->value().empty()) continue;
    if (found->value().is_object()) {  // names of roles that only this model has, and their tokens
      for (const auto& item : found->value().items()) tokens.push_back(read_special_token((*found)[item.key()]));
    } else {
      for (const JsonNode& token : found->elements()) tokens.push_back(read_special_token(token));
    }
    return tokens;
  }
  return tokens;
}

std::optional<int64_t> TokenizerSettings::max_length() const {
  for (const char* key : {"model_max_length", "max_len"}) {
    const auto found = find(key);
    if (!found || !found->value().is_number()) continue;
    const auto length = found->value().get<double>();
    if (length >= 1 && length <= static_cast<double>(kMostTokens)) return static_cast<int64_t>(length);
    return std::nullopt;
  }
  return std::nullopt;
}

bool TokenizerSettings::has_flags(const std::string& key) const {
  const auto found = find(key);
  return found && found->value().is_object();
}

std::string TokenizerSettings::place() const {
  return (folder_ / kSettings).string();
}

std::optional<AddedToken> TokenizerSettings::special_token(const std::string& key) const {
  const auto found = find(key);
  return found ? std::optional(read_special_token(*found)) : std::nullopt;
}

std::optional<std::string> TokenizerSettings::token(const std::string& key) const {
  const auto found = special_token(key);
  return found ? std::optional(found->content) : std::nullopt;
}

const TokenizerClass* TokenizerSettings::tokenizer_class() const {
  const auto found = std::ranges::find(classes_, named_.value_or(""), &TokenizerClass::name);
  return found == classes_.end() ? nullptr : &*found;
}

const TokenizerClass* TokenizerSettings::vocabulary_class(const fs::path& file, std::string_view what,
                                                          std::initializer_list<TokenizerRules> rules) const {
  const auto* found = tokenizer_class();
  if (!named_) {
    const auto by_file = std::ranges::find(classes_, file.filename().string(), &TokenizerClass::file);
    return by_file == classes_.end() ? nullptr : &*by_file;
  }
  std::vector<std::string_view> could;
  for (const auto& each : classes_) {
    if (each.model_type.empty() || std::ranges::find(rules, each.rules) == rules.end()) continue;
    if (found == &each) return found;
    could.push_back(each.name);
  }
  throw UnsupportedError(
      fmt::format("{}, supported: tokenizer.json, or {} of {}", named_where_, what, fmt::join(could, ", ")));
}

}  // namespace compression
