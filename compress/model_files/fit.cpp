#include "compress/model_files/fit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compress/base/error.h"           // CheckpointError
#include "compress/tokenizer/json_node.h"  // in_quotes

namespace compression {
namespace {

/// A token as messages show it: "<user>" (id 229).
std::string shown(int64_t id, const std::vector<NamedToken>& added) {
  const auto found = std::ranges::find(added, id, &NamedToken::id);
  return found == added.end() ? fmt::format("the token of id {}", id)
                              : fmt::format("{} (id {})", in_quotes(found->content), id);
}

}  // namespace

std::vector<std::string> check_fit(const Tokenizer& tokenizer, const ModelConfig& config,
                                   const std::filesystem::path& model, const TextUse& use) {
  const auto rows = config.vocab_size;
  const auto added = tokenizer.added_tokens();
  const auto fail = [&](const std::string& found, const std::string& expected) {
    throw CheckpointError(fmt::format("{}: the tokenizer does not fit the model {}: found {}, expected {}",
                                      tokenizer.folder().string(), model.string(), found, expected));
  };
  const auto need_row = [&](int64_t id, const std::string& what) {
    if (id < rows) return;
    fail(fmt::format("{}, {}", shown(id, added), what),
         fmt::format("an id below {}, the rows of the model's table of words (vocab_size)", rows));
  };
  if (const auto end = tokenizer.words_end(); end > rows) {
    fail(fmt::format("tokens with ids up to {}", end - 1),
         fmt::format("ids below {}, the rows of the model's table of words (vocab_size)", rows));
  }
  for (const bool pair : {false, true}) {
    if (pair && !use.pairs) continue;
    const auto frame = tokenizer.template_use(pair);
    for (const auto id : frame.ids) need_row(id, "which frames each text");
    if (config.type_vocab_size > 0 && frame.token_types > config.type_vocab_size) {
      fail(fmt::format("token types up to {} for {}", frame.token_types - 1, pair ? "pairs of texts" : "texts"),
           fmt::format("types below {}, the rows of the model's table of types (type_vocab_size)",
                       config.type_vocab_size));
    }
    if (static_cast<int64_t>(frame.ids.size()) >= config.max_length()) {
      fail(fmt::format("{} special tokens around {}", frame.ids.size(), pair ? "pairs of texts" : "a text"),
           fmt::format("fewer than the {} tokens that the model has positions for", config.max_length()));
    }
  }
  need_row(tokenizer.pad_id(), "the padding");
  if (const auto mask = tokenizer.mask_id(); use.masks && mask) need_row(*mask, "the mask");

  std::vector<std::string> beyond;
  for (const auto& token : added) {
    if (token.id >= rows) beyond.push_back(fmt::format("{} ({})", in_quotes(token.content), token.id));
  }
  if (beyond.empty()) return {};
  constexpr size_t most = 5;
  const auto count = beyond.size();
  if (count > most) beyond.resize(most);
  return {
      fmt::format("{}: {} added token{} no row in the table of words of {}, which has {}: {}{}; a text with one of "
                  "them is refused",
                  tokenizer.folder().string(), count, count > 1 ? "s have" : " has", model.string(), rows,
                  fmt::join(beyond, ", "), count > most ? ", ..." : "")};
}

std::string unusable_token(const Encoding& encoding, const Tokenizer& tokenizer) {
  const auto usable = tokenizer.usable_ids();
  const auto found = std::ranges::find_if(encoding.input_ids, [&](int64_t id) { return id >= usable; });
  return found == encoding.input_ids.end() ? "" : shown(*found, tokenizer.added_tokens());
}

}  // namespace compression
