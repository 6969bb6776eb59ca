#pragma once
// What a folder says of its tokenizer beside the vocabulary.

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/json_node.h"

namespace compression {

/// tokenizer_config.json and, unless that has "added_tokens_decoder", special_tokens_map.json before it, as
/// transformers reads them; both may be absent.
class TokenizerSettings {
 public:
  /// Throws CheckpointError; UnsupportedError for truncation on the left.
  explicit TokenizerSettings(const std::filesystem::path& folder);

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

  /// "Roberta" for RobertaTokenizer and RobertaTokenizerFast, and where no class is named, for a model of type roberta.
  std::optional<std::string> family() const { return family_; }

  /// For messages: "RobertaTokenizer"; and the file with the settings.
  std::string class_name() const { return family_ ? *family_ + "Tokenizer" : "a tokenizer of no class"; }
  std::string place() const;

  /// Rows of the model's table of words, as config.json says; nothing without one.
  std::optional<int64_t> model_rows() const { return model_rows_; }

  /// Where tokenizer_config.json and special_tokens_map.json name different tokens, a line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// Throws UnsupportedError, which names the class that was found.
  [[noreturn]] void refuse_family(const std::string& supported) const;

 private:
  void compare_special_tokens(const nlohmann::json& settings, const nlohmann::json& map, bool map_is_read);
  void read_config();

  std::filesystem::path folder_;
  std::vector<std::pair<std::filesystem::path, nlohmann::json>> documents_;  // what the first says stands
  std::optional<std::string> family_;
  std::string family_place_;
  std::optional<int64_t> model_rows_;
  std::vector<std::string> warnings_;
};

/// A string, or an object with flags.
AddedToken read_special_token(const JsonNode& node);

}  // namespace compression
