#include <functional>

#include "compress/base/error.h"
#include "compress/checkpoint/gguf.h"
#include "compress/tokenizer/gguf_tokenizer.h"
#include "tests/compress/tokenizers.h"
#include "tests/support.h"

using namespace compression;
using namespace compression::testing;
using Catch::Contains;
using nlohmann::json;

namespace {

void check_ids(const Tokenizer& tokenizer, const std::string& name) {
  for (const json& row : read_rows(golden("gguf/" + name + ".jsonl"))) {
    INFO(row.dump(-1, ' ', true));
    const TextInput input = {.text = row.at("text").get<std::string>(), .pair = {}};
    CHECK(tokenizer.encode(input, {.max_length = 0}).input_ids == row.at("ids").get<Ids>());
  }
}

std::shared_ptr<const Tokenizer> load_golden(const std::string& name) {
  return load_tokenizer(golden("gguf/" + name + ".gguf"));
}

/// The message of the error that the metadata of a golden lead to when they are changed.
template <class E = CheckpointError>
std::string error_after(const std::string& name, const std::function<void(json&)>& change) {
  auto metadata = GgufFile::open(golden("gguf/" + name + ".gguf")).metadata();
  change(metadata);
  return error_of<E>([&] { read_gguf_tokenizer(metadata, "x.gguf"); });
}

}  // namespace

TEST_CASE("byte-level BPE of a GGUF file gives the ids of Hugging Face's tokenizers") {
  for (const auto* name : {"gpt_2", "smollm", "llama_bpe", "qwen2"}) {
    INFO(name);
    check_ids(*load_golden(name), name);
  }
}

TEST_CASE("Llama 3's and Qwen 2's tokenizer.json give the ids of Hugging Face's tokenizers") {
  for (const std::string name : {"llama_bpe", "qwen2"}) {
    INFO(name);
    check_ids(*load_tokenizer(golden("gguf/" + name + "_json")), name);
  }
}

TEST_CASE("sentencepiece's BPE of a GGUF file gives the ids of Llama's tokenizer") {
  check_ids(*load_golden("llama"), "llama");
}

TEST_CASE("the tokenizer of SmolLM2's GGUF file gives the ids of Hugging Face's tokenizers", "[real]") {
  if (!has_real_model("SmolLM2-135M-Instruct")) return;
  const auto tokenizer =
      load_tokenizer(std::filesystem::path(COMPRESS_SOURCE_DIR) / "models" / "SmolLM2-135M-Instruct");
  check_ids(*tokenizer, "smollm2");
  CHECK(tokenizer->vocabulary_size() == 49152);
  CHECK(tokenizer->pad_id() == 2);
  CHECK(tokenizer->special_ids().unk == 0);
}

TEST_CASE("roles and files of a GGUF file's tokenizer are its own") {
  const auto qwen = load_golden("qwen2");
  CHECK(qwen->pad_id() == 2);
  CHECK(qwen->words_end() == qwen->vocabulary_size());
  CHECK(qwen->files() == std::vector<std::filesystem::path>{"qwen2.gguf"});
  CHECK(qwen->folder() == golden("gguf"));
  CHECK(qwen->template_use(false).ids == Ids{1});
  CHECK(qwen->template_use(true).ids == Ids{1, 1});
  CHECK(load_golden("gpt_2")->pad_id() == 1);
  CHECK(load_golden("gpt_2")->template_use(false).ids.empty());
  CHECK(load_golden("llama")->special_ids().unk == 0);
}

TEST_CASE("a GGUF file in a folder is its tokenizer unless there is another") {
  const TemporaryFolder folder;
  std::filesystem::copy_file(golden("gguf/gpt_2.gguf"), folder / "model.gguf");
  check_ids(*load_tokenizer(folder.path()), "gpt_2");
  std::filesystem::copy_file(golden("model/tiny/vocab.txt"), folder / "vocab.txt");
  CHECK(load_tokenizer(folder.path())->files() == std::vector<std::filesystem::path>{"vocab.txt"});
}

TEST_CASE("a GGUF file's tokenizer that is damaged or of another kind is refused with its key") {
  const std::string key = "tokenizer.ggml.";
  const auto set = [&](const std::string& name, const json& value) {
    return [=](json& metadata) { metadata[key + name] = value; };
  };
  const auto erase = [&](const std::string& name) { return [=](json& metadata) { metadata.erase(key + name); }; };
  CHECK_THAT(error_after("gpt_2", erase("tokens")), Contains("x.gguf: tokenizer.ggml.tokens: found nothing"));
  CHECK_THAT(error_after("gpt_2", erase("merges")), Contains("tokenizer.ggml.merges: found nothing"));
  CHECK_THAT(error_after("gpt_2", erase("model")), Contains("tokenizer.ggml.model: found nothing"));
  CHECK_THAT(error_after<UnsupportedError>("gpt_2", set("model", "bert")),
             Contains("tokenizer.ggml.model: found \"bert\", supported: \"gpt2\", \"llama\""));
  CHECK_THAT(error_after<UnsupportedError>("gpt_2", set("pre", "default")),
             Contains("tokenizer.ggml.pre: found \"default\", supported: \"gpt-2\", \"smollm\""));
  CHECK_THAT(error_after("gpt_2", set("tokens", json::array())), Contains("expected at least one token"));
  CHECK_THAT(error_after("gpt_2", set("tokens", {"a", "\xff"})), Contains("tokens[1]: found") && Contains("UTF-8"));
  CHECK_THAT(error_after("gpt_2", set("tokens", {1})), Contains("tokens[0]: found 1, expected a string"));
  CHECK_THAT(error_after("gpt_2", set("token_type", {1, 7})),
             Contains("token_type[1]: found 7, expected a number from 1"));
  CHECK_THAT(error_after("gpt_2", set("token_type", {1})),
             Contains("found an array of 1, expected one for each of the"));
  CHECK_THAT(error_after("gpt_2", set("merges", {"a b c"})), Contains("merges[0]: found \"a b c\""));
  CHECK_THAT(error_after("gpt_2", set("merges", {"a no_such"})), Contains("found no \"no_such\" in the vocabulary"));
  CHECK_THAT(error_after("gpt_2", set("merges", {"\xff b"})), Contains("merges[0]") && Contains("UTF-8"));
  CHECK_THAT(error_after("gpt_2", set("bos_token_id", 100'000u)),
             Contains("bos_token_id: found 100000, expected an id"));
  CHECK_THAT(error_after("gpt_2", set("add_bos_token", 1)), Contains("add_bos_token: found 1, expected true or false"));
  CHECK_THAT(error_after("llama", erase("scores")), Contains("tokenizer.ggml.scores: found nothing"));
  CHECK_THAT(error_after("llama", set("scores", {1.0})),
             Contains("scores: found an array of 1, expected one for each"));
  CHECK_THAT(error_after("llama", [&](json& m) { m[key + "scores"][300] = "x"; }),
             Contains("scores[300]: found \"x\""));
  CHECK_THAT(error_after("llama", [&](json& m) { m[key + "token_type"][0] = 1; }),
             Contains("tokenizer.ggml.tokens: found no piece for what is unknown"));
  CHECK_THAT(error_after("llama", [&](json& m) { m[key + "token_type"][3] = 1; }), Contains("pieces for 255 bytes"));
}
