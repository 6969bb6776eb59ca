#pragma once
// What a folder says of its tokenizer beside the vocabulary.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/json_node.h"

namespace compression {

/// tokenizer_config.json, and special_tokens_map.json where that is silent; both may be absent.
class TokenizerSettings {
 public:
  /// Throws CheckpointError; UnsupportedError for truncation on the left.
  explicit TokenizerSettings(const std::filesystem::path& folder);

  std::optional<JsonNode> find(const std::string& key) const;
  bool boolean_or(const std::string& key, bool otherwise) const;

  /// A special token, which is a string or an object with its "content" and flags.
  std::optional<AddedToken> special_token(const std::string& key) const;
  std::optional<std::string> token(const std::string& key) const;

  /// "Roberta" for RobertaTokenizer and RobertaTokenizerFast, and where no class is named, for a model of type roberta.
  std::optional<std::string> family() const { return family_; }

  /// Throws UnsupportedError, which names the class that was found.
  [[noreturn]] void refuse_family(const std::string& supported) const;

 private:
  std::vector<std::pair<std::filesystem::path, nlohmann::json>> documents_;
  std::optional<std::string> family_;
  std::string family_place_;
};

/// A string, or an object with flags.
AddedToken read_special_token(const JsonNode& node);

}  // namespace compression
