// A tokenizer.json and what the files beside it say. The goldens come from
// tests/goldens/tokenizer/make_class_goldens.py.

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "compress/base/error.h"
#include "compress/tokenizer/tokenizer.h"
#include "tests/compress/tokenizers.h"

namespace compression {
namespace {

using Catch::Matchers::Contains;
using namespace testing;
using nlohmann::json;
namespace fs = std::filesystem;

json read_json(const fs::path& path) {
  return json::parse(std::ifstream(path));
}

/// The folder of one entry of classes.json.
void write_folder(const json& entry, const TokenizerFolder& folder) {
  json document = read_json(kGoldens / entry.at("base").get<std::string>() / "tokenizer.json");
  document.update(entry.at("parts"));
  if (document["model"]["type"] == "WordPiece") document["model"]["max_input_chars_per_word"] = 100u;
  folder.write("tokenizer.json", document.dump());
  for (const auto& [name, content] : entry.at("files").items()) folder.write(name, content.dump());
}

const json& entry_called(const json& entries, const std::string& name) {
  for (const auto& entry : entries) {
    if (entry.at("name") == name) return entry;
  }
  throw std::logic_error(name);
}

}  // namespace

TEST_CASE("tokenizer.json with the files beside it gives the ids of AutoTokenizer, and each contradiction is told") {
  for (const json& entry : read_json(kGoldens / "classes.json")) {
    const auto name = entry.at("name").get<std::string>();
    INFO(name);
    const TokenizerFolder folder;
    write_folder(entry, folder);
    const auto tokenizer = load_tokenizer(folder.path());
    for (const json& row : entry.at("rows")) {
      INFO(row.dump(-1, ' ', true));
      TextInput input{.text = row.at("text").get<std::string>(), .pair = {}};
      if (row.contains("pair")) input.pair = row.at("pair").get<std::string>();
      const auto encoding = tokenizer->encode(input, {.max_length = 0});
      CHECK(encoding.input_ids == row.at("ids").get<Ids>());
      if (row.contains("types")) CHECK(encoding.token_type_ids == row.at("types").get<Ids>());
    }
    const auto& ids = tokenizer->special_ids();
    const json& roles = entry.at("roles");
    const auto check_role = [&](const char* role, const std::optional<int64_t>& id) {
      INFO(role);
      if (!roles.at(role).is_null()) CHECK(id == roles.at(role).get<int64_t>());
    };
    check_role("pad", ids.pad);
    check_role("cls", ids.cls);
    check_role("sep", ids.sep);
    check_role("mask", ids.mask);
    check_role("unk", ids.unk);
    CHECK(tokenizer->warnings().empty() != entry.at("disagree").get<bool>());
    for (const auto& line : tokenizer->warnings()) {
      CHECK_THAT(line, Contains(folder.path().string()));
      CHECK(line.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("a contradiction names the file, what it says and what is followed") {
  const json entries = read_json(kGoldens / "classes.json");
  const auto warning = [&](const std::string& name) {
    const TokenizerFolder folder;
    write_folder(entry_called(entries, name), folder);
    const auto lines = load_tokenizer(folder.path())->warnings();
    std::string all;
    for (const auto& line : lines) all += line.substr(folder.path().string().size() + 1) + "\n";
    return all;
  };
  CHECK_THAT(
      warning("lower by file, cased by settings"),
      Contains("tokenizer.json: normalizer.lowercase is true, but BertTokenizer is followed, as transformers does, "
               "with its settings in tokenizer_config.json or its defaults: false"));
  CHECK_THAT(warning("special tokens of special_tokens_map.json"),
             Contains("tokenizer_config.json says \"[CLS]\" for cls_token") &&
                 Contains("special_tokens_map.json says \"[SEP]\", which is followed"));
  CHECK_THAT(warning("added tokens of the settings"), Contains("\"New York\"") && Contains("are not looked for"));
  CHECK_THAT(warning("a mask that is new"), Contains("\"<mask>\" (1507)"));
  CHECK_THAT(warning("other special tokens"), Contains("post_processor frames texts in another way"));
  CHECK_THAT(warning("no rules of a class"), Contains("normalizer.lowercase is false, and do_lower_case of") &&
                                                 Contains("which PreTrainedTokenizer does not read"));
}

TEST_CASE("a tokenizer.json whose model is not its class's is taken as it is, and told") {
  const TokenizerFolder folder;
  fs::copy(kGoldens / "bpe_roberta" / "tokenizer.json", folder.path());
  const auto own = load_tokenizer(folder.path());
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  const auto named = load_tokenizer(folder.path());
  REQUIRE(named->warnings().size() == 1);
  CHECK_THAT(named->warnings().front(), Contains("its model is BPE, but BertTokenizer's is WordPiece"));
  CHECK(named->encode({"Hello world", {}}, {}).input_ids == own->encode({"Hello world", {}}, {}).input_ids);
}

TEST_CASE("model_max_length is known, unless it means that there is none") {
  const TokenizerFolder folder;
  fs::copy(kGoldens / "tiny" / "tokenizer.json", folder.path());
  CHECK_FALSE(load_tokenizer(folder.path())->max_length());
  folder.write("tokenizer_config.json", R"({"model_max_length": 128})");
  CHECK(load_tokenizer(folder.path())->max_length() == 128);
  folder.write("tokenizer_config.json", R"({"model_max_length": 1000000000000000019884624838656})");
  CHECK_FALSE(load_tokenizer(folder.path())->max_length());
}

}  // namespace compression
