#include "compress/tokenizer/tokenizer_settings.h"

#include <map>

#include "compress/tokenizer/vocabulary.h"

namespace compression {

namespace fs = std::filesystem;

AddedToken read_special_token(const JsonNode& node) {
  if (!node.value().is_object()) return {.content = node.string()};
  AddedToken token = read_added_token(node);
  token.normalized = false;
  return token;
}

TokenizerSettings::TokenizerSettings(const fs::path& folder) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path path = folder / name;
    if (is_present(path)) documents_.emplace_back(path, read_strict_json(path));
  }
  if (const auto side = find("truncation_side"); side && side->string() != "right") side->unsupported("\"right\"");

  const fs::path config = folder / "config.json";
  if (const auto named = find("tokenizer_class")) {
    std::string family = named->string();
    for (const std::string_view ending : {"Fast", "Tokenizer"}) {
      if (family.ends_with(ending)) family.resize(family.size() - ending.size());
    }
    family_ = family;
    family_place_ = "tokenizer_class: found \"" + named->string() + "\"";
  } else if (is_present(config)) {
    const nlohmann::json document = read_strict_json(config);
    const auto type = root(document, config).find("model_type");
    static const std::map<std::string, std::string> families = {
        {"bert", "Bert"},       {"distilbert", "DistilBert"},  {"electra", "Electra"}, {"mpnet", "MPNet"},
        {"roberta", "Roberta"}, {"xlm-roberta", "XLMRoberta"}, {"albert", "Albert"},   {"camembert", "Camembert"},
        {"gpt2", "GPT2"},       {"deberta-v2", "DebertaV2"}};
    if (type && families.contains(type->string())) family_ = families.at(type->string());
    if (type) family_place_ = config.string() + ": model_type: found \"" + type->string() + "\"";
  }
  if (!documents_.empty() && !family_place_.starts_with(config.string())) {
    family_place_ = documents_.front().first.string() + ": " + family_place_;
  }
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

std::optional<AddedToken> TokenizerSettings::special_token(const std::string& key) const {
  const auto found = find(key);
  return found ? std::optional(read_special_token(*found)) : std::nullopt;
}

std::optional<std::string> TokenizerSettings::token(const std::string& key) const {
  const auto found = special_token(key);
  return found ? std::optional(found->content) : std::nullopt;
}

void TokenizerSettings::refuse_family(const std::string& supported) const {
  throw UnsupportedError(family_place_ + ", supported: " + supported);
}

}  // namespace compression
