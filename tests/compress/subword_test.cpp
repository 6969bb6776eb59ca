// BPE and Unigram tokenizers, offsets and windows. The goldens come from
// tests/goldens/tokenizer/make_subword_goldens.py.

#include <torch/csrc/jit/api/module.h>
#include <torch/types.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "compress/base/error.h"
#include "compress/tokenizer/normalizer.h"
#include "compress/tokenizer/pattern.h"
#include "compress/tokenizer/tokenizer.h"
#include "tests/compress/tokenizers.h"

namespace compression {
namespace {

using Catch::Matchers::Contains;
using namespace testing;
using nlohmann::json;
namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// [begin, end, begin, ...]
Ids flat(const std::vector<ByteSpan>& spans) {
  Ids result;
  for (const ByteSpan& span : spans) result.insert(result.end(), {span.begin, span.end});
  return result;
}

void check_lines(const Tokenizer& tokenizer, const fs::path& lines) {
  for (const json& row : read_rows(lines)) {
    INFO(row.dump(-1, ' ', true));
    const TextInput input = {.text = row.at("text").get<std::string>(), .pair = {}};
    const Encoding plain = tokenizer.encode(input, {.max_length = 0});
    CHECK(plain.input_ids == row.at("ids").get<Ids>());
    CHECK(plain.offsets.empty());
    if (!row.contains("offsets")) continue;
    const Encoding encoding = tokenizer.encode(input, {.max_length = 0, .offsets = true});
    CHECK(encoding.input_ids == plain.input_ids);
    CHECK(flat(encoding.offsets) == row.at("offsets").get<Ids>());
    CHECK(encoding.word_ids == row.at("words").get<Ids>());
    CHECK(encoding.sequence_ids.size() == encoding.input_ids.size());
  }
}

void check_lines_of(const std::string& name) {
  check_lines(*load_tokenizer(kGoldens / name), kGoldens / name / "lines.jsonl");
}

/// A copy of a golden folder that a test may spoil.
class SpoiledFolder : public TokenizerFolder {
 public:
  explicit SpoiledFolder(const std::string& name) { fs::copy(kGoldens / name, path(), fs::copy_options::recursive); }

  void change(const std::function<void(json&)>& change) const {
    json document = json::parse(read_file(path() / "tokenizer.json"));
    change(document);
    write("tokenizer.json", document.dump());
  }
};

template <class Expected>
std::string error_after(const std::string& name, const std::function<void(json&)>& change) {
  const SpoiledFolder folder(name);
  folder.change(change);
  return error_of<Expected>([&] { load_tokenizer(folder.path()); });
}

}  // namespace

TEST_CASE("Offsets and words of WordPiece are Hugging Face's") {
  check_lines(*load_tokenizer(kGoldens / "tiny"), kGoldens / "tiny" / "offsets.jsonl");
}

TEST_CASE("Byte-level BPE gives Hugging Face's ids, offsets and words") {
  check_lines_of("bpe_roberta");
  check_lines_of("bpe_prefixed");
}

TEST_CASE("vocab.json with merges.txt gives the ids of transformers' RobertaTokenizer") {
  const auto tokenizer = load_tokenizer(kGoldens / "bpe_files");
  check_lines_of("bpe_files");
  CHECK(tokenizer->files() == std::vector<fs::path>{"tokenizer_config.json", "vocab.json", "merges.txt"});
  CHECK(tokenizer->pad_id() == 1);
  CHECK(tokenizer->mask_id() == 4);
  CHECK(tokenizer->special_ids().cls == 0);
  CHECK(tokenizer->special_ids().sep == 2);
  CHECK(tokenizer->special_ids().unk == 3);
}

TEST_CASE("BPE of characters gives Hugging Face's ids, offsets and words") {
  check_lines_of("bpe_metaspace");
  check_lines_of("bpe_words");
}

TEST_CASE("sentencepiece models give the ids of transformers' tokenizer classes") {
  check_lines_of("unigram_xlm_roberta");
  check_lines_of("unigram_camembert");
  check_lines_of("unigram_albert");
  check_lines_of("unigram_deberta");
}

TEST_CASE("A unigram tokenizer.json gives the ids of the sentencepiece model that it was made of") {
  for (const std::string name : {"unigram_xlm_roberta", "unigram_albert", "unigram_deberta"}) {
    check_lines(*load_tokenizer(kGoldens / (name + "_json")), kGoldens / name / "lines.jsonl");
  }
}

TEST_CASE("A BPE model of sentencepiece gives the ids of transformers' TokenizersBackend") {
  check_lines_of("bpe_sentencepiece");
}

TEST_CASE("Windows, truncation strategies and lists of words are Hugging Face's") {
  const auto check = [](const Encoding& encoding, const json& expected) {
    CHECK(encoding.input_ids == expected.at("ids").get<Ids>());
    if (expected.contains("types")) CHECK(encoding.token_type_ids == expected.at("types").get<Ids>());
    CHECK(flat(encoding.offsets) == expected.at("offsets").get<Ids>());
    CHECK(encoding.sequence_ids == expected.at("sequences").get<Ids>());
    CHECK(encoding.word_ids == expected.at("words").get<Ids>());
  };
  for (const json& row : read_rows(kGoldens / "windows.jsonl")) {
    INFO(row.dump(-1, ' ', true));
    const auto tokenizer = load_tokenizer(kGoldens / row.at("tokenizer").get<std::string>());
    EncodeOptions options = {.max_length = row.at("max_length").get<int64_t>(),
                             .add_special_tokens = row.at("special").get<bool>(),
                             .offsets = true};
    const json& windows = row.at("windows");
    if (row.contains("list")) {
      check(tokenizer->encode_words(row.at("list").get<std::vector<std::string>>(), options), windows.at(0));
      continue;
    }
    TextInput input = {.text = row.at("text").get<std::string>(), .pair = {}};
    if (!row.at("pair").is_null()) input.pair = row.at("pair").get<std::string>();
    options.truncation = row.at("strategy") == "only_second" ? Truncation::kOnlySecond : Truncation::kOnlyFirst;
    const auto found = tokenizer->encode_windows(input, options, row.at("stride").get<int64_t>());
    REQUIRE(found.size() == windows.size());
    for (size_t i = 0; i < found.size(); ++i) check(found[i], windows[i]);
    check(tokenizer->encode(input, options), windows.at(0));
  }
}

TEST_CASE("Windows and strategies that leave no room are refused") {
  const auto tokenizer = load_tokenizer(kGoldens / "tiny");
  const TextInput pair = {.text = "one two three four five six", .pair = "seven eight"};
  const auto message = [&](const EncodeOptions& options, int64_t stride) {
    return error_of<ConfigError>([&] { tokenizer->encode_windows(pair, options, stride); });
  };
  CHECK_THAT(message({.max_length = 30}, 0), Contains("longest-first"));
  CHECK_THAT(message({.max_length = 16, .truncation = Truncation::kOnlyFirst}, -1), Contains("stride: found -1"));
  CHECK_THAT(message({.max_length = 12, .truncation = Truncation::kOnlyFirst}, 9), Contains("stride: found 9"));
  CHECK_THAT(message({.max_length = 5, .truncation = Truncation::kOnlySecond}, 0), Contains("max_length: found 5"));
  CHECK_THAT(error_of<ConfigError>(
                 [&] { tokenizer->encode({pair.text, {}}, {.max_length = 4, .truncation = Truncation::kOnlySecond}); }),
             Contains("truncation"));
  CHECK(tokenizer->encode_windows(pair, {.max_length = 0, .truncation = Truncation::kOnlySecond}, 3).size() == 1);
}

TEST_CASE("Offsets of invalid UTF-8 are those of the bytes that were given") {
  const auto tokenizer = load_tokenizer(kGoldens / "bpe_metaspace");
  const std::string text = "what\xFF is \xE2\x82 it";
  const Encoding encoding = tokenizer->encode({text, {}}, {.max_length = 0, .offsets = true});
  int64_t before = 0;
  for (const ByteSpan& span : encoding.offsets) {
    CHECK(span.begin >= 0);
    CHECK(span.begin <= span.end);
    CHECK(span.end >= before);
    before = span.end;
  }
  CHECK(before == static_cast<int64_t>(text.size()));
}

TEST_CASE("TorchScript runs in a process that has read a sentencepiece model") {
  const auto tokenizer = load_tokenizer(kGoldens / "unigram_xlm_roberta");
  const Encoding encoding = tokenizer->encode({"what is it", {}}, {});
  torch::jit::Module module("m");
  module.define("def forward(self, x):\n    return torch.relu(x * 2 - 6)\n");
  const torch::Tensor ids = torch::tensor(encoding.input_ids).to(torch::kFloat);
  const torch::Tensor result = module.forward({ids}).toTensor();
  CHECK(torch::equal(result, torch::relu(ids * 2 - 6)));
}

TEST_CASE("A damaged BPE or Unigram tokenizer.json is refused with the place of the damage") {
  const auto bpe = [](const auto& change) { return error_after<CheckpointError>("bpe_metaspace", change); };
  CHECK_THAT(bpe([](json& t) { t["model"]["merges"][3] = json::array({"a", "no such"}); }),
             Contains("model: found no \"no such\"") && Contains("merge 4"));
  CHECK_THAT(bpe([](json& t) { t["model"]["merges"][0] = "a b c"; }), Contains("model.merges[0]: found \"a b c\""));
  CHECK_THAT(bpe([](json& t) { t["model"]["merges"] = 3; }), Contains("model.merges: found 3"));
  CHECK_THAT(bpe([](json& t) { t["model"]["unk_token"] = "absent"; }), Contains("absent"));
  CHECK_THAT(bpe([](json& t) { t["model"]["vocab"] = json::array(); }), Contains("model.vocab"));
  CHECK_THAT(bpe([](json& t) { t["pre_tokenizer"]["replacement"] = "ab"; }), Contains("one character"));
  CHECK_THAT(error_after<UnsupportedError>("bpe_metaspace", [](json& t) { t["model"]["dropout"] = 0.1; }),
             Contains("model.dropout: found 0.1"));

  const auto unigram = [](const auto& change) {
    return error_after<CheckpointError>("unigram_xlm_roberta_json", change);
  };
  CHECK_THAT(unigram([](json& t) { t["model"]["vocab"][7] = "x"; }), Contains("model.vocab[7]: found \"x\""));
  CHECK_THAT(unigram([](json& t) { t["model"]["vocab"] = json::array(); }), Contains("at least one token"));
  CHECK_THAT(unigram([](json& t) { t["model"]["unk_id"] = 123456; }), Contains("model.unk_id: found 123456"));
  CHECK_THAT(unigram([](json& t) { t["normalizer"]["precompiled_charsmap"] = "!"; }), Contains("base64"));
  CHECK_THAT(unigram([](json& t) { t["normalizer"]["precompiled_charsmap"] = "AAAA"; }), Contains("3 bytes"));
  CHECK_THAT(unigram([](json& t) { t["normalizer"]["precompiled_charsmap"] = "////fw=="; }), Contains("a trie of"));
}

TEST_CASE("A charsmap of random bytes is refused or read, but never left") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string table(4 + 4 * 64 + 40, '\0');
    for (char& byte : table) byte = static_cast<char>(random() % 3 == 0 ? random() : random() % 2);
    table.replace(0, 4, std::string("\x00\x01\x00\x00", 4));
    for (size_t i = 4 + 256; i < table.size(); ++i) table[i] = static_cast<char>(random() % 100);
    const Precompiled precompiled(table, "table");
    std::string text;
    for (int i = 0; i < 60; ++i) text += static_cast<char>(1 + random() % 127);
    precompiled.normalize(text + "\u00e9\u3042e\u0301");
  }
}

TEST_CASE("merges.txt and vocab.json are refused with the line or key of the damage") {
  const SpoiledFolder folder("bpe_files");
  const std::string merges = read_file(folder.path() / "merges.txt");
  const auto load_it = [&] { load_tokenizer(folder.path()); };
  folder.write("merges.txt", "#version: 0.2\nh e\nhe\n");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("merges.txt: line 3: found \"he\""));
  folder.write("merges.txt", "#version: 0.2\nh \xFF\n");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("not UTF-8"));
  folder.write("merges.txt", "q zzz\n");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("merges.txt: found no \"zzz\"") && Contains("merge 1"));
  fs::remove(folder.path() / "merges.txt");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("merges.txt: no such file"));
  folder.write("merges.txt", merges);
  folder.write("vocab.json", R"({"a": 0, "b": 0})");
  CHECK_THAT(error_of<CheckpointError>(load_it), Contains("found the id 0 twice"));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "CTRLTokenizer"})");
  CHECK_THAT(error_of<UnsupportedError>(load_it), Contains("tokenizer_class: found \"CTRLTokenizer\", supported: "));
}

TEST_CASE("A sentencepiece model that is cut or overwritten is refused or read, but never crashes") {
  const SpoiledFolder folder("unigram_albert");
  const std::string whole = read_file(folder.path() / "spiece.model");
  const auto load_it = [&] {
    try {
      load_tokenizer(folder.path())->encode({"what is (it) \u00e9", {}}, {});
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
  };
  for (size_t size = 0; size < whole.size(); size += 331) {
    folder.write("spiece.model", whole.substr(0, size));
    load_it();
  }
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    std::string spoiled = whole;
    for (int i = 0; i < 20; ++i) spoiled[random() % spoiled.size()] = static_cast<char>(random());
    folder.write("spiece.model", spoiled);
    load_it();
  }
  folder.write("spiece.model", "version https://git-lfs.github.com/spec/v1\n");
  CHECK_THAT(error_of<CheckpointError>([&] { load_tokenizer(folder.path()); }), Contains("not a sentencepiece model"));
  folder.write("spiece.model", whole);
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})");
  CHECK_THAT(error_of<UnsupportedError>([&] { load_tokenizer(folder.path()); }),
             Contains("found \"T5Tokenizer\", supported: tokenizer.json, or a sentencepiece model of"));
}

TEST_CASE("Patterns find what the expression says, and others are not understood") {
  const auto found = [](const std::string& expression, const std::string& text) {
    std::string result;
    for (const PatternMatch& match : Pattern::regex(expression).value().find(text)) {
      result += "[" + text.substr(match.begin, match.end - match.begin) + "]";
    }
    return result;
  };
  CHECK(found(" {2,}", "a  b c   ") == "[  ][   ]");
  CHECK(found("\\s{2,}|[\\n\\r\\t]", "a\tb \u3000c d\n") == "[\t][ \u3000][\n]");
  CHECK(found("\\A +| +\\z", "  a  b ") == "[  ][ ]");
  CHECK(found("\\A +| +\\z", "   ") == "[   ]");
  CHECK(found("a\\.b+", "axb a.bbb") == "[a.bbb]");
  for (const char* other : {"(a)", "a*", "a?", "[^a]", "[a-z]", "\\d", "\\p{L}", ".", "a{2}", "a+b", "a{0,}", "\\A", "",
                            "a|", "^a", "a\\"}) {
    CHECK_FALSE(Pattern::regex(other).has_value());
  }
}

}  // namespace compression
