#include "compress/tokenizer/vocabulary.h"

namespace compression {

AddedToken read_added_token(const JsonNode& node) {
  AddedToken token = {.content = node.at("content").string(),
                      .single_word = node.boolean_or("single_word", false),
                      .lstrip = node.boolean_or("lstrip", false),
                      .rstrip = node.boolean_or("rstrip", false),
                      .normalized = node.boolean_or("normalized", !node.boolean_or("special", false)),
                      .special = node.boolean_or("special", false)};
  if (token.content.empty()) node.at("content").mismatch("a text");
  return token;
}

void AddedTokenList::add(const JsonNode& node, int32_t id) {
  AddedToken token = read_added_token(node);
  token.id = id;
  const JsonNode content = node.at("content");
  if (!contents_.insert(token.content).second) content.mismatch("each added token once");
  const auto known = vocabulary_.find(token.content);
  // Hugging Face numbers new tokens itself, from the size of the vocabulary on.
  const int64_t expected = known ? *known : vocabulary_.size();
  if (id != expected) {
    content.mismatch("the token whose id is " + std::to_string(id) + "; this one's is " + std::to_string(expected));
  }
  if (!known) vocabulary_.add(token.content, id);
  tokens_.push_back(std::move(token));
}

int32_t AddedTokenList::add_special(AddedToken token, const std::string& role, bool may_be_new) {
  if (may_be_new && !vocabulary_.find(token.content)) {
    vocabulary_.add(token.content, static_cast<int32_t>(vocabulary_.size()));
  }
  const int32_t id = vocabulary_.at(token.content, role);
  token.id = id;
  token.special = true;
  const auto same = [&](const AddedToken& other) { return other.content == token.content; };
  if (const auto there = std::ranges::find_if(tokens_, same); there != tokens_.end()) {
    there->special = true;
  } else {
    contents_.insert(token.content);
    tokens_.push_back(std::move(token));
  }
  return id;
}

}  // namespace compression
