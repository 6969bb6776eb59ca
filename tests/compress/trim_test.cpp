// Tokenizers with fewer tokens.
#include "compress/tokenizer/trim.h"

#include <algorithm>

#include "compress/base/error.h"
#include "tests/compress/tokenizers.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

TEST_CASE("A tokenizer cut to the tokens of some texts encodes these as before, and others in smaller pieces") {
  const std::string name =
      GENERATE("tiny", "cased", "vocab_txt", "bpe_files", "bpe_metaspace", "bpe_prefixed", "bpe_roberta", "bpe_words",
               "unigram_xlm_roberta_json", "unigram_albert_json", "unigram_deberta_json");
  INFO(name);
  const auto whole = load_tokenizer(kGoldens / name);
  const auto lines = kGoldens / name / "lines.jsonl";
  const auto rows = read_rows(exists(lines) ? lines : kGoldens / "lines.jsonl");
  const EncodeOptions options{.max_length = 0};
  const auto ids_of = [&](const Tokenizer& tokenizer, const nlohmann::json& row) {
    return tokenizer.encode({.text = row.at("text").get<std::string>(), .pair = {}}, options).input_ids;
  };
  std::vector<bool> used(static_cast<size_t>(whole->vocabulary_size()));
  for (size_t i = 0; i < rows.size(); i += 4) {
    for (const auto id : ids_of(*whole, rows[i])) used.at(static_cast<size_t>(id)) = true;
  }
  const TokenizerFolder folder;
  const auto kept = trim_tokenizer(*whole, used, folder.path());
  const auto small = load_tokenizer(folder.path());
  CHECK(small->vocabulary_size() == static_cast<int64_t>(kept.size()));
  CHECK(small->vocabulary_size() < whole->vocabulary_size());
  CHECK(std::is_sorted(kept.begin(), kept.end()));
  CHECK(kept.at(static_cast<size_t>(small->pad_id())) == whole->pad_id());
  CHECK(kept.at(static_cast<size_t>(small->special_ids().unk.value_or(0))) == whole->special_ids().unk.value_or(0));
  size_t shorter = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    INFO(rows[i].dump(-1, ' ', true));
    const auto before = ids_of(*whole, rows[i]);
    auto now = ids_of(*small, rows[i]);
    for (auto& id : now) id = kept.at(static_cast<size_t>(id));
    const bool all_kept = std::all_of(before.begin(), before.end(),
                                      [&](int64_t id) { return std::binary_search(kept.begin(), kept.end(), id); });
    if (all_kept) CHECK(now == before);
    shorter += all_kept ? 0 : 1;
  }
  CHECK(shorter > 0);
}

TEST_CASE("A sentencepiece model alone keeps its tokens, with a message that says what can be cut") {
  const TokenizerFolder folder;
  const auto tokenizer = load_tokenizer(kGoldens / "unigram_albert");
  CHECK_THAT(error_of<UnsupportedError>([&] { trim_tokenizer(*tokenizer, {}, folder.path()); }),
             Contains("sentencepiece model alone") && Contains("tokenizer.json"));
}

}  // namespace
}  // namespace compression
