#pragma once
// What a folder says of its tokenizer beside the vocabulary.

#include <filesystem>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/class_rules.h"
#include "compress/tokenizer/json_node.h"

namespace compression {

/// tokenizer_config.json and, unless that has "added_tokens_decoder", special_tokens_map.json before it, as
/// transformers reads them; both may be absent.
class TokenizerSettings {
 public:
  /// `classes`: those that there are, which have to outlive it. Throws CheckpointError; UnsupportedError for truncation
  /// on the left.
  TokenizerSettings(const std::filesystem::path& folder, const std::vector<TokenizerClass>& classes);

  /// Of a tokenizer that is all in one file, which says the same in another form.
  TokenizerSettings(const std::filesystem::path& file, nlohmann::json settings)
      : folder_(file.parent_path()), documents_{{file, std::move(settings)}} {}

  std::optional<JsonNode> find(const std::string& key) const;
  bool boolean_or(const std::string& key, bool otherwise) const;

  /// "added_tokens_decoder" by id, empty where there is none, and added_tokens.json in the order of ids. Throws
  /// CheckpointError.
  std::map<int64_t, JsonNode> added_tokens_decoder() const;
  std::vector<std::pair<std::string, int64_t>> added_tokens_file() const;

  /// Special tokens without a role: "extra_special_tokens" or "additional_special_tokens". Throws CheckpointError.
  std::vector<AddedToken> extra_tokens() const;

  /// "model_max_length", tokens of the longest text; nothing where that is not so many that a model can have them.
  std::optional<int64_t> max_length() const;

  /// Whether a special token is written with its flags.
  bool has_flags(const std::string& key) const;

  /// A special token, which is a string or an object with its "content" and flags.
  std::optional<AddedToken> special_token(const std::string& key) const;
  std::optional<std::string> token(const std::string& key) const;

  /// The class that is named, or where none is, that of the model's type; null where it is none of those there are.
  const TokenizerClass* tokenizer_class() const;

  /// The class that reads a vocabulary, one of those that go by these rules: the one that is named, else the one that
  /// the file stands for, else null. Throws UnsupportedError, which tells `what` is read of which classes.
  const TokenizerClass* vocabulary_class(const std::filesystem::path& file, std::string_view what,
                                         std::initializer_list<TokenizerRules> rules) const;

  /// For messages: "MineTokenizer"; and the file with the settings.
  std::string class_name() const { return named_ ? *named_ + "Tokenizer" : "a tokenizer of no class"; }
  std::string place() const;

  /// Rows of the model's table of words, as config.json says; nothing without one.
  std::optional<int64_t> model_rows() const { return model_rows_; }

  /// Where tokenizer_config.json and special_tokens_map.json name different tokens, a line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  void compare_special_tokens(const nlohmann::json& settings, const nlohmann::json& map, bool map_is_read);
  void read_config();

  std::filesystem::path folder_;
  std::vector<std::pair<std::filesystem::path, nlohmann::json>> documents_;  // what the first says stands
  std::span<const TokenizerClass> classes_;
  std::optional<std::string> named_;  // the class, without "Tokenizer" and "Fast"
  std::string named_where_;
  std::optional<int64_t> model_rows_;
  std::vector<std::string> warnings_;
};

/// A string, or an object with flags.
AddedToken read_special_token(const JsonNode& node);

}  // namespace compression
