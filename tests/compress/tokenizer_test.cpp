// The goldens come from tests/goldens/tokenizer/make_goldens.py.

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "compress/base/error.h"
#include "compress/tokenizer/bert_normalizer.h"
#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/tokenizer.h"
#include "compress/tokenizer/unicode.h"
#include "compress/tokenizer/wordpiece.h"
#include "tests/compress/tokenizers.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kRealModel = fs::path(COMPRESS_SOURCE_DIR) / "models/all-MiniLM-L6-v2";
constexpr EncodeOptions kUnlimited{.max_length = 0};

uint32_t crc32(std::string_view bytes) {
  uint32_t sum = ~0U;
  for (char byte : bytes) {
    sum ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ (0xEDB88320U & (0U - (sum & 1U)));
  }
  return ~sum;
}

json small_tokenizer() {
  return json::parse(R"({
    "version": "1.0",
    "added_tokens": [{"id": 3, "content": "[SEP]", "special": true, "normalized": false}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                   "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {
      "type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 10,
              "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "##b": 6, "ab": 7, "##ba": 8}}
  })");
}

Ids ids_of(const Tokenizer& tokenizer, const std::string& text, bool special = false) {
  return tokenizer.encode({text, {}}, {.max_length = 0, .add_special_tokens = special}).input_ids;
}

std::shared_ptr<const Tokenizer> load(const json& tokenizer) {
  TokenizerFolder folder;
  folder.write("tokenizer.json", tokenizer.dump());
  return load_tokenizer(folder.path());
}

template <class Expected>
std::string error_after(const std::function<void(json&)>& change) {
  json tokenizer = small_tokenizer();
  change(tokenizer);
  return error_of<Expected>([&] { load(tokenizer); });
}

std::string error_with_vocab_txt(const std::string& vocabulary, const std::string& config = "{}") {
  TokenizerFolder folder;
  folder.write("vocab.txt", vocabulary);
  folder.write("tokenizer_config.json", config);
  return error_of<Error>([&] { load_tokenizer(folder.path()); });
}

using Catch::Matchers::Contains;

void check_lines(const Tokenizer& tokenizer, const std::string& key) {
  for (const json& row : read_rows(kGoldens / "lines.jsonl")) {
    const auto text = row.at("text").get<std::string>();
    INFO(row.at("text").dump(-1, ' ', true));
    CHECK(ids_of(tokenizer, text, true) == row.at(key).get<Ids>());
  }
}

void check_pairs(const Tokenizer& tokenizer, const std::string& name) {
  for (const json& row : read_rows(kGoldens / name)) {
    INFO(row.dump(-1, ' ', true));
    TextInput input{.text = row.at("text").get<std::string>(), .pair = {}};
    if (row.contains("pair")) input.pair = row.at("pair").get<std::string>();
    const Encoding encoding = tokenizer.encode(input, {.max_length = row.at("max_length").get<int64_t>(),
                                                       .add_special_tokens = row.at("special").get<bool>()});
    CHECK(encoding.input_ids == row.at("ids").get<Ids>());
    CHECK(encoding.token_type_ids == row.at("types").get<Ids>());
  }
}

}  // namespace

TEST_CASE("Normalised text is Hugging Face's") {
  const BertNormalizer uncased({});
  const BertNormalizer kept_case({.clean_text = false, .lowercase = false});
  for (const json& row : read_rows(kGoldens / "lines.jsonl")) {
    const auto text = row.at("text").get<std::string>();
    INFO(row.at("text").dump(-1, ' ', true));
    CHECK(uncased.normalize(text) == row.at("normalized").get<std::string>());
    CHECK(kept_case.normalize(text) == row.at("kept_case").get<std::string>());
  }
}

TEST_CASE("Every code point is normalised and split as Hugging Face does") {
  const std::array<BertNormalizer, 3> ways = {BertNormalizer({}),
                                              BertNormalizer({.strip_accents = false, .lowercase = false}),
                                              BertNormalizer({.strip_accents = false})};
  const TokenizerPipeline splitter(
      {.pre_tokenizer = std::make_shared<BertPreTokenizer>(),
       .model = std::make_shared<WordPiece>(WordPieceConfig{
           .vocabulary = {{"[PAD]", 0}, {"[UNK]", 1}, {"[CLS]", 2}, {"[SEP]", 3}, {"a", 4}, {"b", 5}, {"##b", 6}}}),
       .post_processor = EncodingTemplate({{.kind = TemplatePiece::Kind::kFirst}}, {})});
  std::ifstream file(kGoldens / "code_points.txt");
  char32_t covered = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    uint32_t first = 0;
    uint32_t last = 0;
    std::array<uint32_t, 4> expected;
    fields >> std::hex >> first >> last;
    for (uint32_t& sum : expected) fields >> sum;
    REQUIRE(fields);
    REQUIRE(first == covered);
    covered = last + 1;

    std::array<std::string, 4> results;
    for (char32_t c = first; c <= last; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      std::string text = "a";
      unicode::append(c, text);
      text += 'b';
      for (size_t way = 0; way < ways.size(); ++way) {
        results[way] += ways[way].normalize(text) + '\n';
      }
      const Ids ids = ids_of(splitter, text);
      for (size_t i = 0; i < ids.size(); ++i) results[3] += (i > 0 ? " " : "") + std::to_string(ids[i]);
      results[3] += '\n';
    }
    INFO("code points " << line);
    for (size_t i = 0; i < results.size(); ++i) CHECK(crc32(results[i]) == expected[i]);
  }
  CHECK(covered == 0x110000);
}

TEST_CASE("Ids of a tokenizer.json are Hugging Face's") {
  check_lines(*load_tokenizer(kGoldens / "tiny"), "tiny");
  check_lines(*load_tokenizer(kGoldens / "cased"), "cased");
}

TEST_CASE("Ids of a vocab.txt are Hugging Face's") {
  const auto tokenizer = load_tokenizer(kGoldens / "vocab_txt");
  check_lines(*tokenizer, "vocab_txt");
  CHECK(tokenizer->pad_id() == 0);
  CHECK(tokenizer->files() == std::vector<fs::path>{"tokenizer_config.json", "vocab.txt"});
  CHECK(tokenizer->folder() == kGoldens / "vocab_txt");
}

TEST_CASE("Pairs are truncated and typed as Hugging Face does") {
  check_pairs(*load_tokenizer(kGoldens / "tiny"), "tiny_pairs.jsonl");
  check_pairs(*load_tokenizer(kGoldens / "cased"), "cased_pairs.jsonl");
}

TEST_CASE("Ids of the real model are Hugging Face's", "[real]") {
  if (!has_real_model("all-MiniLM-L6-v2")) return;
  const auto tokenizer = load_tokenizer(kRealModel);
  check_lines(*tokenizer, "real");
  CHECK(tokenizer->vocabulary_size() == 30522);
  CHECK(tokenizer->pad_id() == 0);
}

TEST_CASE("The real model's vocab.txt gives the ids of its tokenizer.json", "[real]") {
  if (!has_real_model("all-MiniLM-L6-v2")) return;
  TokenizerFolder folder;
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) fs::copy(kRealModel / name, folder.path());
  check_lines(*load_tokenizer(folder.path()), "real");
}

TEST_CASE("A batch gives what its texts give one by one, in their order") {
  const auto tokenizer = load_tokenizer(kGoldens / "tiny");
  std::vector<TextInput> inputs;
  for (const json& row : read_rows(kGoldens / "tiny_pairs.jsonl")) {
    inputs.push_back({.text = row.at("text").get<std::string>(), .pair = {}});
    inputs.push_back({.text = row.at("text").get<std::string>(), .pair = "and more"});
  }
  const EncodeOptions options{.max_length = 12};
  const std::vector<Encoding> encodings = tokenizer->encode_batch(inputs, options);
  REQUIRE(encodings.size() == inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Encoding alone = tokenizer->encode(inputs[i], options);
    CHECK(encodings[i].input_ids == alone.input_ids);
    CHECK(encodings[i].token_type_ids == alone.token_type_ids);
  }
  CHECK(tokenizer->encode_batch({}, options).empty());
  CHECK_THROWS_AS(tokenizer->encode_batch(inputs, {.max_length = 1}), ConfigError);
}

TEST_CASE("Invalid UTF-8 reads as Python's errors=replace") {
  for (const json& row : read_rows(kGoldens / "invalid_utf8.jsonl")) {
    const auto hex = row.at("bytes").get<std::string>();
    INFO(hex);
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    CHECK_FALSE(unicode::is_valid(bytes));
    CHECK(unicode::replace_invalid(bytes) == row.at("text").get<std::string>());
  }
  const auto tokenizer = load(small_tokenizer());
  CHECK(ids_of(*tokenizer,
               "a\xFF"
               "b \xE2\x82 a") == Ids{7, 4});
}

TEST_CASE("A NUL in a text is dropped") {
  const auto tokenizer = load(small_tokenizer());
  CHECK(ids_of(*tokenizer, std::string("a\0b\0 a", 6)) == Ids{7, 4});
}

TEST_CASE("A word is cut into the longest pieces, and is unknown where one is missing or it is too long") {
  const auto tokenizer = load(small_tokenizer());
  CHECK(ids_of(*tokenizer, "abba AB b! a[SEP]b") == Ids{7, 8, 7, 5, 1, 4, 3, 5});
  CHECK(ids_of(*tokenizer, "abc") == Ids{1});
  CHECK(ids_of(*tokenizer, "abbbbbbbbb") == Ids{7, 6, 6, 6, 6, 6, 6, 6, 6});
  CHECK(ids_of(*tokenizer, "abbbbbbbbbb") == Ids{1});
  CHECK(ids_of(*tokenizer, "").empty());
  CHECK(ids_of(*tokenizer, "", true) == Ids{2, 3});
}

TEST_CASE("max_length has to have room for the special tokens") {
  const auto tokenizer = load(small_tokenizer());
  const TextInput pair{.text = "a b a", .pair = "b"};
  CHECK(tokenizer->encode(pair, {.max_length = 3}).input_ids == Ids{2, 3, 3});
  CHECK(tokenizer->encode(pair, {.max_length = 4}).input_ids == Ids{2, 4, 3, 3});
  CHECK(tokenizer->encode(pair, {.max_length = 1, .add_special_tokens = false}).input_ids == Ids{4});
  CHECK_THAT(error_of<ConfigError>([&] { tokenizer->encode(pair, {.max_length = 2}); }),
             Contains("max_length: found 2") && Contains("at least 3"));
  CHECK_THROWS_AS(tokenizer->encode({.text = "a", .pair = {}}, {.max_length = -1}), ConfigError);
}

TEST_CASE("An old tokenizer.json without a model type is read") {
  json old = small_tokenizer();
  old["model"].erase("type");
  CHECK(ids_of(*load(old), "ab") == Ids{7});
  CHECK_THAT(error_after<UnsupportedError>([](json& t) {
               t["model"].erase("type");
               t["model"].erase("continuing_subword_prefix");
             }),
             Contains("model.type"));
}

TEST_CASE("The padding token's name comes from tokenizer_config.json, else from the padding section") {
  json tokenizer = small_tokenizer();
  tokenizer["padding"] = {{"pad_token", "a"}};
  CHECK(load(tokenizer)->pad_id() == 4);
  TokenizerFolder folder;
  folder.write("tokenizer.json", tokenizer.dump());
  folder.write("tokenizer_config.json", R"({"pad_token": {"content": "b"}})");
  CHECK(load_tokenizer(folder.path())->pad_id() == 5);
}

TEST_CASE("What a tokenizer.json asks for and is not supported is named") {
  CHECK_THAT(error_after<UnsupportedError>([](json& t) { t["model"]["type"] = "WordLevel"; }),
             Contains("tokenizer.json: model.type: found \"WordLevel\", supported: \"WordPiece\", \"BPE\""));
  CHECK_THAT(error_after<UnsupportedError>([](json& t) { t["normalizer"]["type"] = "NFX"; }),
             Contains("normalizer.type: found \"NFX\", supported: \"BertNormalizer\", \"Lowercase\", \"NFC\""));
  CHECK_THAT(error_after<UnsupportedError>([](json& t) { t["pre_tokenizer"] = {{"type", "UnicodeScripts"}}; }),
             Contains("pre_tokenizer.type: found \"UnicodeScripts\", supported: \"BertPreTokenizer\""));
  CHECK_THAT(error_after<UnsupportedError>(
                 [](json& t) { t["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}}; }),
             Contains("pre_tokenizer.type: found \"ByteLevel\""));
  CHECK_THAT(error_after<UnsupportedError>([](json& t) {
               t["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "(a|b)*"}}}, {"content", ""}};
             }),
             Contains("normalizer.pattern.Regex: found \"(a|b)*\""));
  CHECK_THAT(error_after<UnsupportedError>([](json& t) { t["post_processor"]["type"] = "Other"; }),
             Contains("post_processor.type: found \"Other\""));
  CHECK_THAT(error_after<UnsupportedError>([](json& t) { t["post_processor"]["single"].erase(1); }),
             Contains("post_processor.single"));
  TokenizerFolder folder;
  folder.write("tokenizer.json", small_tokenizer().dump());
  folder.write("tokenizer_config.json", R"({"truncation_side": "left"})");
  CHECK_THAT(error_of<UnsupportedError>([&] { load_tokenizer(folder.path()); }), Contains("truncation_side"));
}

TEST_CASE("A damaged tokenizer.json is refused with the place of the damage") {
  const auto message = [](const std::function<void(json&)>& change) { return error_after<CheckpointError>(change); };
  CHECK_THAT(message([](json& t) { t.erase("model"); }), Contains("model: found nothing"));
  CHECK_THAT(message([](json& t) { t = json::array(); }), Contains("found an array of 0, expected an object"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"] = 3; }), Contains("model.vocab: found 3"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"] = json::object(); }), Contains("[UNK]"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"]["a"] = -4; }), Contains("model.vocab.a: found -4"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"]["a"] = 1.5; }), Contains("model.vocab.a: found 1.5"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"]["a"] = 4294967296; }), Contains("found 4294967296"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"]["a"] = 5; }), Contains("found the id 5 twice"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"].erase("[UNK]"); }), Contains("found no \"[UNK]\""));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"].erase("[CLS]"); }), Contains("[CLS]"));
  CHECK_THAT(message([](json& t) { t["model"]["vocab"].erase("[PAD]"); }), Contains("found no \"[PAD]\""));
  CHECK_THAT(message([](json& t) { t["model"]["unk_token"] = 1; }), Contains("model.unk_token: found 1"));
  CHECK_THAT(message([](json& t) { t["model"]["max_input_chars_per_word"] = "x"; }), Contains("found \"x\""));
  CHECK_THAT(message([](json& t) { t["normalizer"].erase("lowercase"); }), Contains("normalizer.lowercase"));
  CHECK_THAT(message([](json& t) { t["added_tokens"] = 1; }), Contains("added_tokens: found 1"));
  CHECK_THAT(message([](json& t) { t["added_tokens"][0]["id"] = 2; }), Contains("added_tokens[0].content"));
  CHECK_THAT(message([](json& t) { t["added_tokens"][0]["content"] = ""; }), Contains("added_tokens[0].content"));
  CHECK_THAT(message([](json& t) { t["added_tokens"].push_back(t["added_tokens"][0]); }), Contains("added_tokens[1]"));
  CHECK_THAT(message([](json& t) { t["added_tokens"].push_back({{"id", 12}, {"content", "new"}}); }),
             Contains("id is 12; this one's is 9"));
  CHECK_THAT(message([](json& t) {
               t["added_tokens"].push_back({{"id", 9}, {"content", "New"}});
               t["added_tokens"].push_back({{"id", 10}, {"content", "new"}});
             }),
             Contains("same after normalisation"));
  CHECK_THAT(message([](json& t) { t["post_processor"]["single"][0]["SpecialToken"]["id"] = "[X]"; }),
             Contains("special_tokens.[X]: found nothing"));
  CHECK_THAT(message([](json& t) { t["post_processor"]["special_tokens"]["[SEP]"]["ids"][0] = 99; }),
             Contains("ids[0]: found 99, expected 3"));
  CHECK_THAT(message([](json& t) { t["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json::array(); }),
             Contains("as many ids as tokens"));
}

TEST_CASE("A truncated tokenizer.json is refused wherever it ends") {
  const std::string whole = small_tokenizer().dump();
  TokenizerFolder folder;
  for (size_t size = 0; size < whole.size(); size += 7) {
    folder.write("tokenizer.json", whole.substr(0, size));
    CHECK_THROWS_AS(load_tokenizer(folder.path()), CheckpointError);
  }
  folder.write("tokenizer.json", R"({"model": {"type": "WordPiece", "type": "BPE"}})");
  CHECK_THAT(error_of<CheckpointError>([&] { load_tokenizer(folder.path()); }), Contains("\"type\" occurs twice"));
  folder.write("tokenizer.json", std::string(100000, '['));
  CHECK_THAT(error_of<CheckpointError>([&] { load_tokenizer(folder.path()); }), Contains("nested deeper than"));
  folder.write("tokenizer.json", "{\"a\xFF\": 1}");
  CHECK_THROWS_AS(load_tokenizer(folder.path()), CheckpointError);
}

TEST_CASE("A tokenizer.json whose values are of other types is refused or read, but never crashes") {
  const json whole = small_tokenizer().flatten();
  const std::vector<json> values = {nullptr, -1, 1e300, "x", true, json::array(), json::object(), json::array({1})};
  for (const auto& [pointer, unused] : whole.items()) {
    for (const json& value : values) {
      json changed = small_tokenizer();
      changed[json::json_pointer(pointer)] = value;
      try {
        ids_of(*load(changed), "a [SEP] b", true);
      } catch (const Error&) {
      }
    }
  }
}

TEST_CASE("A token that a vocab.txt has twice has the id of its last line, as in transformers") {
  const TokenizerFolder folder;
  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n");
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(tokenizer->vocabulary_size() == 8);
  CHECK(tokenizer->encode({.text = "a b", .pair = {}}, {.max_length = 0}).input_ids ==
        std::vector<int64_t>{2, 7, 6, 3});
}

TEST_CASE("A damaged vocab.txt is refused") {
  CHECK_THAT(error_with_vocab_txt("[UNK]\n[CLS]\n[SEP]\n"), Contains("found no \"[PAD]\""));
  CHECK_THAT(error_with_vocab_txt("[CLS]\n[SEP]\n[PAD]\n"), Contains("found no \"[UNK]\""));
  CHECK_THAT(error_with_vocab_txt(""), Contains("vocab.txt"));
  CHECK_THAT(error_with_vocab_txt("[UNK]\n\xFF\n"), Contains("not UTF-8"));
  const std::string good = "[UNK]\r\n[CLS]\n[SEP]\n[PAD]\na";
  CHECK_THAT(error_with_vocab_txt(good, R"({"cls_token": "<s>"})"), Contains("found no \"<s>\""));
  CHECK_THAT(error_with_vocab_txt(good, R"({"cls_token": 1})"), Contains("cls_token: found 1"));
  CHECK_THAT(error_with_vocab_txt(good, R"({"do_lower_case": 1})"), Contains("do_lower_case: found 1"));
  CHECK_THAT(error_with_vocab_txt(good, R"({"tokenizer_class": "T5Tokenizer"})"), Contains("T5Tokenizer"));
  CHECK_THAT(error_with_vocab_txt(good, R"({"added_tokens_decoder": {"x": {}}})"), Contains("added_tokens_decoder.x"));
  CHECK_THAT(error_with_vocab_txt(good, "{"), Contains("tokenizer_config.json"));
}

TEST_CASE("A vocab.txt takes added tokens from tokenizer_config.json") {
  TokenizerFolder folder;
  folder.write("vocab.txt", "[UNK]\r\n[CLS]\n[SEP]\n[PAD]\na");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "DistilBertTokenizerFast", "added_tokens_decoder":
      {"6": {"content": "<y>", "special": true, "lstrip": true}, "5": {"content": "<x>", "special": true}}})");
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(ids_of(*tokenizer, "A<x>a [SEP] <y>", true) == Ids{1, 4, 5, 4, 2, 6, 2});
  CHECK(tokenizer->vocabulary_size() == 7);
}

TEST_CASE("A folder without a tokenizer is refused with what was found there") {
  TokenizerFolder folder;
  const auto load_it = [&] { load_tokenizer(folder.path()); };
  CHECK_THAT(error_of<CheckpointError>([&] { load_tokenizer(folder.path() / "absent"); }), Contains("no such folder"));
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("expected tokenizer.json, vocab.txt, vocab.json"));
  folder.write("spiece.model", "");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("spiece.model: not a sentencepiece model"));
  fs::create_directory(folder.path() / "tokenizer.json");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("tokenizer.json: found no regular file"));
}

TEST_CASE("A run of combining marks as long as a book is normalised in its canonical order") {
  std::string text = "a";
  std::string expected = "a";
  constexpr int kMarks = 200000;
  for (int i = 0; i < kMarks; ++i) text += "\xF0\x9D\x85\xA5\xE3\x80\xAE";  // classes 216 and 224, neither of them Mn
  for (int i = 0; i < kMarks; ++i) expected += "\xF0\x9D\x85\xA5";
  for (int i = 0; i < kMarks; ++i) expected += "\xE3\x80\xAE";
  CHECK((BertNormalizer({}).normalize(text) == expected));
}

}  // namespace compression
