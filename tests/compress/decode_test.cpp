#include "compress/base/error.h"
#include "compress/tokenizer/token_stream.h"
#include "tests/compress/tokenizers.h"
#include "tests/support.h"

using namespace compression;
using namespace compression::testing;
using Catch::Contains;
using nlohmann::json;

namespace {

/// The golden tokenizer, with another decoder unless that is null.
std::shared_ptr<const Tokenizer> load_with(const std::filesystem::path& folder, const json& decoder) {
  if (decoder.is_null()) return load_tokenizer(folder);
  const TokenizerFolder own;
  auto document = json::parse(std::ifstream(folder / "tokenizer.json"));
  document["decoder"] = decoder;
  own.write("tokenizer.json", document.dump());
  const auto settings = folder / "tokenizer_config.json";
  if (std::filesystem::exists(settings)) std::filesystem::copy_file(settings, own.path() / "tokenizer_config.json");
  return load_tokenizer(own.path());
}

/// A stream's parts, each of which is UTF-8.
std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  TokenStream stream(tokenizer, skip_special);
  std::string text;
  const auto take = [&](const std::string& part) {
    CHECK_NOTHROW(json(part).dump());
    text += part;
  };
  for (const auto id : ids) take(stream.add(id));
  take(stream.finish());
  return text;
}

}  // namespace

TEST_CASE("texts of tokens are those of Hugging Face's tokenizers, whole and in parts") {
  const auto rows = read_rows(golden("tokenizer/decode.jsonl"));
  REQUIRE(rows.size() > 100);
  for (const json& row : rows) {
    INFO(row.at("folder") << ", decoder \"" << row.at("name").get<std::string>() << '"');
    const auto tokenizer = load_with(golden(row.at("folder").get<std::string>()), row.at("decoder"));
    for (const json& one : row.at("cases")) {
      INFO(one.dump(-1, ' ', true));
      const auto ids = one.at("ids").get<Ids>();
      for (const bool skip : {false, true}) {
        const auto expected = one.at(skip ? "plain" : "all").get<std::string>();
        CHECK(tokenizer->decode(ids, skip) == expected);
        const auto by_place = row.at("name") == "Strip" || row.at("name") == "BPEDecoder";  // of a token in the text
        const auto text = streamed(*tokenizer, ids, skip);
        if (!by_place && expected.find("\uFFFD") == std::string::npos) CHECK(text == expected);
      }
    }
  }
}

TEST_CASE("a stream of tokens keeps back characters that are not whole") {
  const auto tokenizer = load_tokenizer(golden("gguf/gpt_2.gguf"));
  const std::string text = "caf\u00e9 \U0001f469\u200d\U0001f52c \u4f60\u597d";
  const auto ids = tokenizer->encode({text, {}}, {.max_length = 0, .add_special_tokens = false}).input_ids;
  REQUIRE(ids.size() > 15);  // bytes, most of them
  CHECK(tokenizer->decode(ids) == text);
  CHECK(streamed(*tokenizer, ids, true) == text);
  const Ids half{ids.begin(), ids.end() - 1};
  CHECK(streamed(*tokenizer, half, true) == tokenizer->decode(half));
  CHECK_THAT(tokenizer->decode(half), Catch::EndsWith("\uFFFD"));
}

TEST_CASE("a decoder that we have not is told when a text is to be made, not before") {
  const auto folder = golden("tokenizer/tiny");
  const auto tokenizer = load_with(folder, {{"type", "CTC"}, {"pad_token", "<pad>"}});
  CHECK(!tokenizer->encode({"the quick", {}}, {}).input_ids.empty());
  CHECK_THAT(error_of<UnsupportedError>([&] { (void)tokenizer->decode(Ids{5}); }),
             Contains("tokenizer.json: decoder: found a decoder that is none of \"BPEDecoder\""));
  const json doubled{{"type", "Replace"}, {"pattern", {{"String", "e"}}}, {"content", "ee"}};
  const auto grown = load_with(folder, {{"type", "Sequence"}, {"decoders", json(std::vector<json>(60, doubled))}});
  const auto the = grown->encode({"the", {}}, {}).input_ids;
  CHECK_THROWS_AS(grown->decode(the), UnsupportedError);
  CHECK_THROWS_AS(load_with(folder, {{"type", "Strip"}, {"content", ""}, {"start", 2000000000}, {"stop", 0}}),
                  CheckpointError);
  CHECK_THROWS_AS(load_with(folder, {{"type", "Strip"}, {"content", "a"}, {"start", -1}, {"stop", 0}}),
                  CheckpointError);
}
