// Whether a model has rows for what its tokenizer gives.
#include "compress/model_files/fit.h"

#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;
using nlohmann::json;

/// The tokenizer of goldens/sentence/model, of 34 words, with more added tokens.
std::shared_ptr<const Tokenizer> tokenizer_with(const TemporaryFolder& folder, const std::vector<std::string>& added,
                                                std::optional<int64_t> rows = std::nullopt) {
  auto document = json::parse(read_file(golden("sentence/model/tokenizer.json")));
  int64_t id = 34;
  for (const auto& content : added) {
    document["added_tokens"].push_back({{"id", id++}, {"content", content}, {"special", true}, {"normalized", false}});
  }
  write_file(folder / "tokenizer.json", document.dump());
  return load_tokenizer(folder.path(), rows);
}

ModelConfig config_with(int64_t rows, int64_t types = 2) {
  auto config = load_model_config(golden("sentence/model"));
  config.vocab_size = rows;
  config.type_vocab_size = types;
  return config;
}

TEST_CASE("added tokens without a row are named, and their texts alone can't be computed") {
  const TemporaryFolder folder;
  const auto tokenizer = tokenizer_with(folder, {"<user>", "<url>"}, 34);
  const auto lines = check_fit(*tokenizer, config_with(34), "m");
  REQUIRE(lines.size() == 1);
  CHECK_THAT(lines.front(),
             Contains("2 added tokens have no row in the table of words of m, which has 34: \"<user>\" (34), "
                      "\"<url>\" (35)"));
  CHECK(check_fit(*tokenizer, config_with(36), "m").empty());
  CHECK(check_fit(*tokenizer, config_with(100), "m").empty());
  CHECK(tokenizer->vocabulary_size() == 36);
  CHECK(tokenizer->usable_ids() == 34);
  CHECK(unusable_token(tokenizer->encode({"good film", {}}, {}), *tokenizer).empty());
  CHECK(unusable_token(tokenizer->encode({"good <url> film", {}}, {}), *tokenizer) == "\"<url>\" (id 35)");
  CHECK(tokenizer_with(folder, {"<user>"})->usable_ids() == 35);
}

TEST_CASE("a folder's config.json says how many ids can be used, another model's rows before it") {
  const TemporaryFolder folder;
  write_file(folder / "config.json", R"({"model_type": "bert", "vocab_size": 30})");
  CHECK(tokenizer_with(folder, {})->usable_ids() == 30);
  CHECK(tokenizer_with(folder, {}, 20)->usable_ids() == 20);
}

TEST_CASE("what every text can have and the model has not is refused in one line") {
  const auto refusal = [](const Tokenizer& tokenizer, const ModelConfig& config, const TextUse& use = {}) {
    const auto message = message_of<CheckpointError>([&] { check_fit(tokenizer, config, "the-model", use); });
    CHECK(message.find('\n') == std::string::npos);
    CHECK_THAT(message, Contains(tokenizer.folder().string()) && Contains("the-model"));
    return message;
  };
  const TemporaryFolder folder;
  const auto own = tokenizer_with(folder, {});
  CHECK_THAT(refusal(*own, config_with(33)), Contains("tokens with ids up to 33, expected ids below 33"));
  CHECK_THAT(refusal(*own, config_with(34, 1), {.pairs = true}),
             Contains("token types up to 1 for pairs of texts, expected types below 1"));
  CHECK_NOTHROW(check_fit(*own, config_with(34, 1), "m"));
  CHECK_NOTHROW(check_fit(*own, config_with(34, 0), "m", {.pairs = true}));  // the model reads no types
  auto short_model = config_with(34);
  short_model.max_position_embeddings = 2;
  CHECK_THAT(refusal(*own, short_model), Contains("2 special tokens around a text"));

  auto document = json::parse(read_file(folder / "tokenizer.json"));
  const auto with_special = [&](const std::string& old, const char* role) {
    auto changed = json::parse([&] {
      auto text = document.dump();
      for (size_t at = 0; (at = text.find(old, at)) != std::string::npos;) text.replace(at, old.size(), "<new>");
      return text;
    }());
    // The word itself stays in the vocabulary, and <new> is behind it.
    auto& vocabulary = changed["model"]["vocab"];
    const auto id = vocabulary["<new>"];
    vocabulary.erase("<new>");
    vocabulary[old] = id;
    for (auto& token : changed["added_tokens"]) {
      if (token["content"] == "<new>") token["id"] = 34;
    }
    for (auto& [name, token] : changed["post_processor"]["special_tokens"].items()) {
      if (name == "<new>") token["ids"] = {34};
    }
    write_file(folder / "tokenizer.json", changed.dump());
    write_file(folder / "tokenizer_config.json", json{{role, "<new>"}}.dump());
    return load_tokenizer(folder.path());
  };
  CHECK_THAT(refusal(*with_special("[CLS]", "cls_token"), config_with(34)),
             Contains("\"<new>\" (id 34), which frames each text, expected an id below 34"));
  CHECK_THAT(refusal(*with_special("[PAD]", "pad_token"), config_with(34)), Contains("\"<new>\" (id 34), the padding"));
  const auto masked = with_special("[MASK]", "mask_token");
  CHECK_THAT(refusal(*masked, config_with(34), {.masks = true}), Contains("\"<new>\" (id 34), the mask"));
  CHECK(check_fit(*masked, config_with(34), "m").size() == 1);  // without it, a warning
}

}  // namespace
}  // namespace compression
