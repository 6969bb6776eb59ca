// Files that are damaged or hostile: each is an error of one line, in time and memory that follow from its bytes.

#include <sys/stat.h>

#include <chrono>

#include "compress/base/error.h"
#include "compress/base/file.h"
#include "compress/base/fingerprint.h"
#include "compress/base/json_file.h"
#include "compress/base/limits.h"
#include "compress/model_folder/model_folder.h"
#include "compress/state_dict/state_dict.h"
#include "compress/task/labels.h"
#include "compress/tokenizer/added_tokens.h"
#include "compress/tokenizer/json_node.h"
#include "compress/tokenizer/normalizer.h"
#include "compress/tokenizer/pattern.h"
#include "compress/tokenizer/unigram.h"
#include "tests/compress/tokenizers.h"
#include "tests/support.h"

namespace compression {
namespace {

using Catch::Matchers::Contains;
using namespace testing;
using nlohmann::json;
namespace fs = std::filesystem;

/// Fails where `work`, which takes well below a second, takes the time of a quadratic form.
template <class Work>
void check_is_quick(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

std::string with_length(const std::string& header) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header;
}

void copy_tiny_model(const TemporaryFolder& folder) {
  for (const auto& entry : fs::directory_iterator(golden("model/tiny"))) {
    fs::copy_file(entry.path(), folder.path() / entry.path().filename());
  }
}

TEST_CASE("A safetensors header of very many tensors is read in time linear in their number") {
  const TemporaryFolder folder;
  std::string header = "{";
  for (int i = 0; i < 50'000; ++i) {
    header += fmt::format("{}\"t{}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", i > 0 ? "," : "", i);
  }
  write_file(folder / "x.safetensors", with_length(header + "}"));
  check_is_quick([&] { CHECK(SafetensorsFile::open(folder / "x.safetensors").tensors().size() == 50'000); });
}

TEST_CASE("An index of very many tensors is read in time linear in their number") {
  const TemporaryFolder folder;
  std::string header = "{", index = R"({"weight_map": {)";
  for (int i = 0; i < 50'000; ++i) {
    const auto* comma = i > 0 ? "," : "";
    header += fmt::format("{}\"t{}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", comma, i);
    index += fmt::format("{}\"t{}\":\"x.safetensors\"", comma, i);
  }
  write_file(folder / "x.safetensors", with_length(header + "}"));
  write_file(folder / "model.safetensors.index.json", index + "}}");
  check_is_quick([&] { CHECK(read_tensor_shapes(folder.path()).size() == 50'000); });
}

TEST_CASE("The order of very many classes is found in time linear in their number") {
  TaskHead wanted;
  std::vector<std::string> classes;
  for (int i = 0; i < 200'000; ++i) {
    wanted.labels.push_back(fmt::format("class {}", i));
    classes.push_back(fmt::format("class {}", 199'999 - i));
  }
  check_is_quick([&] { CHECK(class_order(wanted, classes).front() == 199'999); });
}

TEST_CASE("JSON is refused beyond a depth, with a key that is there twice, and keeps its members' order where asked") {
  const auto problem = [](const std::string& text) {
    try {
      build_json(text);
    } catch (const JsonProblem& found) {
      return std::string(found.what());
    }
    return std::string("none");
  };
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(problem(nested(limits::json_depth)) == "none");
  CHECK(problem(nested(limits::json_depth + 1)) == "found JSON nested deeper than 100 levels");
  CHECK(problem(R"({"a":{"b":1,"c":[{"b":2}],"b":3}})") == "the key \"b\" occurs twice");
  CHECK(build_json(R"({"a":[1,-2,0.5,true,null,"x",{}],"b":{}})").dump() ==
        R"({"a":[1,-2,0.5,true,null,"x",{}],"b":{}})");
  const auto ordered =
      build_json<nlohmann::ordered_json>(R"({"z":1,"a":{"y":[],"b":2},"z":3})", DoubleKeys::last_counts);
  CHECK(ordered.dump() == R"({"z":3,"a":{"y":[],"b":2}})");
}

TEST_CASE("A pipe or a device in the place of a file is refused at once") {
  const TemporaryFolder folder;
  copy_tiny_model(folder);
  for (const bool device : {false, true}) {
    for (const std::string name :
         {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json"}) {
      INFO(name << (device ? ", a device" : ", a pipe"));
      const auto path = folder / name, saved = folder / "saved";
      const bool was_there = fs::exists(path);
      if (was_there) fs::rename(path, saved);
      if (device) {
        fs::create_symlink("/dev/zero", path);
      } else {
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
      }
      const bool of_tokenizer = name.starts_with("vocab") || name.starts_with("tokenizer");
      const auto message = message_of<CheckpointError>([&] {
        of_tokenizer ? static_cast<void>(load_tokenizer(folder.path())) : static_cast<void>(load_model(folder.path()));
      });
      CHECK_THAT(message, Contains(name + ": found no regular file"));
      CHECK_THAT(message_of<StorageError>([&] { file_fingerprint(path); }), Contains("no regular file"));
      if (!device) CHECK_THROWS_AS(write_text_file(path, "text"), StorageError);  // nobody reads from it
      fs::remove(path);
      if (was_there) fs::rename(saved, path);
    }
  }
}

TEST_CASE("A file that is larger than its kind may be is refused before it is read") {
  const TemporaryFolder folder;
  copy_tiny_model(folder);
  fs::resize_file(folder / "config.json", limits::settings_bytes + 1);
  CHECK_THAT(message_of<CheckpointError>([&] { load_model_config(folder.path()); }),
             Contains(fmt::format("config.json: found {} bytes, expected at most {}", limits::settings_bytes + 1,
                                  limits::settings_bytes)));
  fs::resize_file(folder / "vocab.txt", limits::tokenizer_bytes + 1);
  CHECK_THAT(message_of<CheckpointError>([&] { load_tokenizer(folder.path()); }), Contains("vocab.txt: found"));
}

TEST_CASE("A model that its weights have no bytes for is refused before it is made") {
  const TemporaryFolder folder;
  copy_tiny_model(folder);
  auto config = read_json_file(folder / "config.json");
  config["num_hidden_layers"] = 1024;
  config["vocab_size"] = 67'000'000;
  write_text_file(folder / "config.json", config.dump());
  CHECK_THAT(message_of<CheckpointError>([&] { load_model(folder.path()); }),
             Contains("config.json: found sizes that make") && Contains("parameters, expected those of the weights"));
}

TEST_CASE("Dense modules that their weights have no bytes for are refused before they are made") {
  const TemporaryFolder folder;
  copy_tiny_model(folder);
  const auto hidden = read_json_file(folder / "config.json").at("hidden_size").get<int64_t>();
  const auto module = [](const std::string& kind, const std::string& path, int index) {
    return fmt::format(R"({{"idx": {0}, "name": "{0}", "path": "{2}", "type": "sentence_transformers.models.{1}"}})",
                       index, kind, path);
  };
  std::string modules = "[" + module("Transformer", "", 0) + "," + module("Pooling", "1_Pooling", 1);
  fs::create_directories(folder / "1_Pooling");
  write_file(folder / "1_Pooling/config.json",
             fmt::format(R"({{"word_embedding_dimension": {}, "pooling_mode_mean_tokens": true}})", hidden));
  for (int i = 2; i < 6; ++i) {
    const auto path = fmt::format("{}_Dense", i);
    modules += "," + module("Dense", path, i);
    fs::create_directories(folder / path);
    write_file(folder / path / "config.json", fmt::format(R"({{"in_features": {}, "out_features": {}, "bias": false,
                               "activation_function": "torch.nn.modules.linear.Identity"}})",
                                                          i == 2 ? hidden : limits::width, limits::width));
    write_safetensors(folder / path / "model.safetensors", {{"linear.weight", torch::zeros({1, 1})}});
  }
  write_file(folder / "modules.json", modules + "]");
  const LoadModelOptions options{.head = TaskHead{.task = TaskType::embedding}};
  CHECK_THAT(message_of<CheckpointError>([&] { load_model(folder.path(), options); }),
             Contains("found sizes that make") && Contains("parameters, expected those of the weights"));
}

TEST_CASE("A classifier without bytes has no classes") {
  const TemporaryFolder folder;
  copy_tiny_model(folder);
  auto config = read_json_file(folder / "config.json");
  for (const char* key : {"id2label", "label2id"}) config.erase(key);
  write_text_file(folder / "config.json", config.dump());
  auto state = golden_tensors("model/tiny/model.safetensors");
  state["classifier.weight"] = torch::empty({int64_t{1} << 40, 0});
  write_safetensors(folder / "model.safetensors", state);
  CHECK_THAT(message_of<CheckpointError>([&] { load_model(folder.path()); }), Contains("classifier.weight"));
}

// ---- tokenizers

json words(const std::string& model = "WordPiece") {
  return {{"model",
           {{"type", model},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", {{"[PAD]", 0}, {"[UNK]", 1}, {"a", 2}, {"b", 3}}}}}};
}

std::shared_ptr<const Tokenizer> made_of(const TokenizerFolder& folder, const json& tokenizer) {
  folder.write("tokenizer.json", tokenizer.dump());
  return load_tokenizer(folder.path());
}

TEST_CASE("Tokens, ids and templates of a tokenizer have bounds") {
  const TokenizerFolder folder;
  const auto message = [&](const std::function<void(json&)>& change) {
    auto tokenizer = words();
    change(tokenizer);
    return error_of<CheckpointError>([&] { made_of(folder, tokenizer); });
  };
  made_of(folder, words());
  const std::string longest(limits::token_bytes, 'x');
  CHECK_THAT(message([&](json& t) { t["model"]["vocab"][longest + "x"] = 4; }),
             Contains("found a token of 1025 bytes, \"xxx") && Contains("expected at most 1024"));
  CHECK_THAT(message([&](json& t) { t["model"]["vocab"]["c"] = limits::token_ids; }), Contains("expected ids below"));
  CHECK_THAT(message([&](json& t) { t["model"]["continuing_subword_prefix"] = longest + "x"; }),
             Contains("model.continuing_subword_prefix: found") && Contains("at most 1024 bytes"));
  auto many = words();
  const json ids(100, 2), tokens(100, "a");
  many["post_processor"] = {{"type", "TemplateProcessing"},
                            {"special_tokens", {{"a", {{"ids", ids}, {"tokens", tokens}}}}}};
  many["post_processor"]["single"] = json(11, {{"SpecialToken", {{"id", "a"}, {"type_id", 0}}}});
  many["post_processor"]["pair"] = json::array();
  CHECK_THAT(error_of<UnsupportedError>([&] { made_of(folder, many); }), Contains("at most 1024 special tokens"));

  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + longest + "x\n");
  fs::remove(folder.path() / "tokenizer.json");
  CHECK_THAT(error_of<CheckpointError>([&] { load_tokenizer(folder.path()); }),
             Contains("vocab.txt: found a token of 1025 bytes"));
}

TEST_CASE("A normalizer that grows a text is refused when it has grown it too much") {
  const TokenizerFolder folder;
  auto tokenizer = words();
  const json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", json(60, twice)}};
  const auto growing = made_of(folder, tokenizer);
  CHECK_THAT(error_of<CheckpointError>([&] { growing->encode({"a text", {}}, {}); }),
             Contains("normalizer makes more than") && Contains("of a text of 6"));
  tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", json(4, twice)}};
  CHECK(made_of(folder, tokenizer)->encode({std::string(5000, 'a'), {}}, {.max_length = 8}).input_ids.size() > 0);
  tokenizer["normalizer"] = twice;
  tokenizer["normalizer"]["content"] = std::string(limits::token_bytes + 1, 'a');
  CHECK_THAT(error_of<CheckpointError>([&] { made_of(folder, tokenizer); }), Contains("normalizer.content"));
}

TEST_CASE("Patterns are found in time linear in the text") {
  const std::string spaces(300'000, ' ');
  check_is_quick([&] {
    const auto ends = Pattern::regex("\\A +| +\\z").value();
    CHECK(ends.find("x" + spaces + "y").empty());
    CHECK(ends.find("x" + spaces).size() == 1);
    CHECK(Pattern::regex(" {1000,}").value().find("x" + std::string(999, ' ') + "y").empty());
    CHECK(Pattern::regex("a[ ]{3,}").value().find("a" + spaces + "a  a   b").size() == 2);
  });
  CHECK_FALSE(Pattern::regex(" {1025,}").has_value());
  check_is_quick([&] {
    std::vector<std::string> texts;
    for (int i = 0; i < 20'000; ++i) texts.push_back("a" + std::to_string(i));
    CHECK(Pattern::any_of(texts).find(std::string(200'000, 'a')).empty());
  });
  const auto first = Pattern::any_of({"ab", "abc", "b"}).find("abcb");
  REQUIRE(first.size() == 2);
  CHECK((first[0].begin == 0 && first[0].end == 2 && first[1].begin == 3));
}

TEST_CASE("Added tokens that take the white space beside them are found in time linear in the text") {
  const std::string spaces(300'000, ' ');
  check_is_quick([&] {
    const AddedTokenMatcher left({{.content = " ", .id = 1, .lstrip = true}});
    CHECK(left.find(spaces).size() == spaces.size());
    const AddedTokenMatcher right({{.content = " ", .id = 1, .rstrip = true}});
    CHECK(right.find(spaces).front().end == spaces.size());
  });
  const AddedTokenMatcher both({{.content = "A", .id = 1, .rstrip = true}, {.content = " ", .id = 2, .lstrip = true}});
  const auto found = both.find("A   ");  // the first one takes all: what is left is nothing
  REQUIRE(found.size() == 1);
  CHECK(found.front().end == 4);
}

TEST_CASE("Characters that a unigram model does not know become bytes in time linear in the text") {
  UnigramConfig config{.unknown_id = 0, .byte_fallback = true};
  config.vocabulary = {{"<unk>", 0}, {"a", -1}};
  for (unsigned byte = 0; byte < 256; ++byte) config.vocabulary.emplace_back(byte_token(byte), -2);
  const Unigram model(std::move(config));
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "a\u00e9";
  std::vector<int64_t> ids;
  check_is_quick([&] { model.append(text, ids, nullptr); });
  CHECK(ids.size() == 300'000);
  CHECK((ids[0] == 1 && ids[1] == 2 + 0xC3 && ids[2] == 2 + 0xA9));
}

// ---- sentencepiece

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value > 127; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}
std::string field(int number, const std::string& content) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(content.size()) + content;
}
std::string field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
std::string piece(const std::string& text, float score = 0, uint64_t kind = 1) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &score, 4);
  return field(1, field(1, text) + varint(2 << 3 | 5) + bytes + field(3, kind));
}
const std::string special_pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);

TEST_CASE("An odd piece of a sentencepiece model is refused by its number, or tokenizes") {
  const auto name = GENERATE(as<std::string>(), "sentencepiece.bpe.model", "spiece.model", "spm.model");
  const std::string albert = piece("[CLS]", 0, 3) + piece("[SEP]", 0, 3) + piece("<pad>", 0, 3);
  const auto message = [&](const std::string& pieces, const std::string& settings = "") {
    const TokenizerFolder folder;
    folder.write(name, special_pieces + albert + pieces + settings);
    return error_of<CheckpointError>([&] { load_tokenizer(folder.path()); });
  };
  CHECK_THAT(message(piece(std::string(65'536, 'y'))),
             Contains(name + ": piece 6: found \"yyyy") && Contains("1024 bytes, not 65536"));
  CHECK_THAT(message(piece("a") + piece("a")), Contains("piece 7: found \"a\"") && Contains("not that of piece 6"));
  CHECK_THAT(message(piece("")), Contains("piece 6: found \"\""));
  CHECK_THAT(message(piece("\xFF")), Contains("piece 6") && Contains("UTF-8"));
  CHECK_THAT(message(piece("a", NAN)), Contains("piece 6: found \"a\"") && Contains("a finite score"));
  CHECK_THAT(message(piece("a", 0, 2)), Contains("piece 6") && Contains("which is piece 0"));
  CHECK_THAT(message(piece("<0x00>", 0, 6)), Contains("byte_fallback is not set"));
  CHECK_THAT(message(piece("a") + piece("<0x0g>", 0, 6), field(2, field(35, 1))), Contains("<0x00> to <0xFF>"));
  CHECK_THAT(message(piece("a"), field(2, field(35, 1))), Contains("pieces for 0 bytes, expected 256"));

  const TokenizerFolder folder;
  const std::string with_nul("a\0b", 3);  // sentencepiece itself compares up to the NUL alone
  folder.write(name, special_pieces + albert + piece("\u2581") + piece(with_nul) + piece(std::string("a\0c", 3)) +
                         piece("a") + piece(std::string(limits::token_bytes, 'y')) + piece("[MASK]", 0, 4) +
                         piece("<mask>", 0, 4));
  const auto ids =
      load_tokenizer(folder.path())->encode({"a " + std::string(3000, 'y'), {}}, {.max_length = 0}).input_ids;
  CHECK(ids.size() > 3);
}

TEST_CASE("What is no sentencepiece model is refused") {
  const TokenizerFolder folder;
  const auto message = [&](const std::string& bytes) {
    folder.write("spiece.model", bytes);
    return error_of<CheckpointError>([&] { load_tokenizer(folder.path()); });
  };
  CHECK_THAT(message(""), Contains("found no pieces"));
  CHECK_THAT(message(std::string(1000, '\x0B')), Contains("bytes of another format"));  // groups in groups
  CHECK_THAT(message(special_pieces + "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"), Contains("bytes of another format"));
  CHECK_THAT(message(special_pieces + std::string(11, '\xFF')), Contains("bytes of another format"));
  CHECK_THAT(message(piece("a")), Contains("no piece for what is unknown"));
  CHECK_THAT(message(special_pieces), Contains("no piece of text"));
  folder.write("spiece.model", special_pieces + piece("a") + field(2, field(3, 3)));
  CHECK_THAT(error_of<UnsupportedError>([&] { load_tokenizer(folder.path()); }), Contains("words or characters"));
}

TEST_CASE("The merges of a BPE model whose pieces begin with each other take memory of its bytes") {
  const TokenizerFolder folder;
  std::string model = special_pieces;
  for (size_t size = 1; size <= 300; ++size) model += piece(std::string(size, 'a'), -static_cast<float>(size));
  folder.write("tokenizer.model", model + field(2, field(3, 2)) + field(3, field(3, 0)));
  check_is_quick([&] {
    const auto ids = load_tokenizer(folder.path())->encode({std::string(1000, 'a'), {}}, {.max_length = 0}).input_ids;
    CHECK(ids.size() >= 1);
  });
}

}  // namespace
}  // namespace compression
