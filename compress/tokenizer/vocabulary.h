#pragma once
// The tokens of a model and those that have been added to them, while files are read.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/json_node.h"

namespace compression {

/// Tokens to ids. `place` begins the messages of errors.
class Vocabulary {
 public:
  explicit Vocabulary(std::string place) : place_(std::move(place)) {}

  /// Throws CheckpointError where the token or the id is there already, or beyond its limit.
  void add(const std::string& token, int32_t id) {
    check(token, id);
    if (!ids_.emplace(token, id).second) {
      throw CheckpointError(place_ + ": found the token " + in_quotes(token) + " twice, expected each token once");
    }
    if (!used_.insert(id).second) {
      throw CheckpointError(place_ + ": found the id " + std::to_string(id) + " twice, the second time at " +
                            in_quotes(token) + ", expected each id once");
    }
    end_of_ids_ = std::max(end_of_ids_, id + int64_t{1});
    ++size_;
  }

  /// The next id for a token that may be there already: it is then known by the new one.
  void append(const std::string& token) {
    check(token, size_);
    ids_[token] = static_cast<int32_t>(size_);
    used_.insert(static_cast<int32_t>(size_));
    end_of_ids_ = ++size_;
  }

  std::optional<int32_t> find(const std::string& token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  int32_t at(const std::string& token, const std::string& role) const {
    if (const auto id = find(token)) return *id;
    throw CheckpointError(place_ + ": found no " + in_quotes(token) + ", expected it as the " + role + " token");
  }

  int64_t size() const { return size_; }

  /// One more than the largest id.
  int64_t end_of_ids() const { return end_of_ids_; }

  const std::unordered_map<std::string, int32_t>& ids() const { return ids_; }
  const std::string& place() const { return place_; }

 private:
  void check(const std::string& token, int64_t id) const {
    if (token.size() > limits::token_bytes) {
      throw CheckpointError(place_ + ": found a token of " + std::to_string(token.size()) + " bytes, " +
                            in_quotes(token.substr(0, kShown)) + "..., expected at most " +
                            std::to_string(limits::token_bytes));
    }
    if (id >= limits::token_ids) {
      throw CheckpointError(place_ + ": found the id " + std::to_string(id) + ", expected ids below " +
                            std::to_string(limits::token_ids));
    }
  }

  static constexpr size_t kShown = 40;

  std::string place_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<int32_t> used_;
  int64_t size_ = 0;
  int64_t end_of_ids_ = 0;
};

/// The added tokens of a vocabulary, which they join where they are new.
class AddedTokenList {
 public:
  explicit AddedTokenList(Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  /// An entry of "added_tokens" or "added_tokens_decoder". Throws CheckpointError.
  void add(const JsonNode& node, int32_t id);

  /// A token that is matched as it stands; where it has been added already it only becomes special. It joins the
  /// vocabulary where it is new and `may_be_new`, else it has to be there: CheckpointError.
  int32_t add_special(AddedToken token, const std::string& role, bool may_be_new = false);

  std::vector<AddedToken> take() { return std::move(tokens_); }

 private:
  Vocabulary& vocabulary_;
  std::unordered_set<std::string> contents_;
  std::vector<AddedToken> tokens_;
};

/// The added token of a JSON object, without its id.
AddedToken read_added_token(const JsonNode& node);

}  // namespace compression
