#include <sys/resource.h>
#include <torch/torch.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>
#include <random>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/families/name_table.h"
#include "compress/ops/host_tensors.h"
#include "compress/state_dict/state_dict.h"

using namespace compression;
using Catch::Contains;
using nlohmann::json;
using std::filesystem::path;

namespace {

const path goldens = path(COMPRESS_GOLDENS) / "checkpoint";

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "compress_checkpoint_XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(folder_); }
  path operator/(const path& name) const { return folder_ / name; }
  const path& get() const { return folder_; }

 private:
  path folder_;
};

void put(const path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// A safetensors file by hand.
std::string raw_file(const std::string& header, size_t data_size) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data_size, '\1');
}

/// The message of the error of exactly this kind that `action` throws; it must be one line.
template <class E, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const E& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "nothing was thrown";
}

std::string opening(const std::string& bytes) {
  const TemporaryFolder folder;
  put(folder / "x.safetensors", bytes);
  return message_of<CheckpointError>([&] { SafetensorsFile::open(folder / "x.safetensors"); });
}

std::string opening_header(const std::string& header, size_t data_size = 0) {
  return opening(raw_file(header, data_size));
}

/// Opens a file and reads every byte of every tensor. True if it was in order.
bool reads_whole(const path& file_path) {
  try {
    const auto file = SafetensorsFile::open(file_path);
    for (const auto& [name, info] : file.tensors()) read_tensor(file, name);
    return true;
  } catch (const CheckpointError&) {
    return false;
  }
}

void check_same(const StateDict& found, const StateDict& expected) {
  REQUIRE(found.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(found.contains(name));
    CHECK(found.at(name).scalar_type() == tensor.scalar_type());
    CHECK(found.at(name).sizes() == tensor.sizes());
    CHECK(at::equal(found.at(name), tensor));
  }
}

StateDict read_tensors(const path& file_path) {
  return read_tensors(SafetensorsFile::open(file_path));
}

/// The tensors of a checkpoint by their canonical names.
StateDict to_canonical(const std::string& model_type, const StateDict& state) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state) names.push_back(name);
  StateDict result;
  for (const auto& [name, tensor] :
       renamed(StoredState(state.begin(), state.end()), canonical_names(model_type, names).of)) {
    result[name] = tensor.read();
  }
  return result;
}

/// A linear layer under a name of its own, with a counter as buffer.
struct Head : torch::nn::Module {
  Head() {
    classifier = register_module("classifier", torch::nn::Linear(3, 2));
    steps = register_buffer("steps", torch::zeros({1}, torch::kLong));
  }
  torch::nn::Linear classifier{nullptr};
  torch::Tensor steps;
};

}  // namespace

TEST_CASE("Tensors of every dtype are read as the reference library wrote them") {
  const auto file = SafetensorsFile::open(goldens / "dtypes.safetensors");
  const auto values = read_json_file(goldens / "dtypes.json");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
  REQUIRE(file.tensors().size() == values.size());
  for (const auto& [name, expected] : values.items()) {
    INFO(name);
    const auto tensor = read_tensor(file, name);
    CHECK(tensor.sizes().vec() == expected["shape"].get<std::vector<int64_t>>());
    CHECK(tensor.scalar_type() == ops::scalar_type(file.tensors().at(name).dtype));
    CHECK(at::equal(ops::torch_tensor(file.read(name)), tensor));
    const auto numbers = tensor.to(torch::kDouble).flatten();
    CHECK(at::equal(numbers, torch::tensor(expected["values"].get<std::vector<double>>(), torch::kDouble)));
  }
}

TEST_CASE("Written files are those of the reference library, byte for byte") {
  const TemporaryFolder folder;
  for (const char* name : {"dtypes", "names", "no_tensors", "single/model"}) {
    INFO(name);
    const path golden = goldens / (std::string(name) + ".safetensors");
    write_safetensors(folder / "x.safetensors", read_tensors(golden), SafetensorsFile::open(golden).metadata());
    CHECK(read_text_file(folder / "x.safetensors") == read_text_file(golden));
  }
}

TEST_CASE("Tensors that are not contiguous, share memory or need gradients are written by value") {
  const TemporaryFolder folder;
  const auto base = torch::arange(12, torch::kFloat).reshape({3, 4}).requires_grad_();
  const StateDict state{{"base", base}, {"same", base}, {"turned", base.t()}, {"part", base.slice(1, 1, 3)}};
  write_safetensors(folder / "x.safetensors", state);
  check_same(read_tensors(folder / "x.safetensors"), state);
}

TEST_CASE("A tensor of a file may be changed in place, outlives the file object, and leaves the file as it was") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x.safetensors", {{"a", torch::zeros({4})}});
  auto tensor = read_tensor(SafetensorsFile::open(folder / "x.safetensors"), "a");
  tensor.add_(1);
  CHECK(at::equal(tensor, torch::ones({4})));
  CHECK(at::equal(read_tensors(folder / "x.safetensors").at("a"), torch::zeros({4})));
}

TEST_CASE("A file can be replaced while its tensors are in use") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x.safetensors", {{"a", torch::ones({4096})}});
  const auto file = SafetensorsFile::open(folder / "x.safetensors");
  const auto state = read_tensors(folder / "x.safetensors");
  write_safetensors(folder / "x.safetensors", {{"b", state.at("a").slice(0, 0, 2)}});
  CHECK(at::equal(state.at("a"), torch::ones({4096})));
  CHECK(at::equal(read_tensor(file, "a"), torch::ones({4096})));
  CHECK(at::equal(read_tensors(folder / "x.safetensors").at("b"), torch::ones({2})));
  CHECK_FALSE(exists(folder / "x.safetensors.partial"));
}

TEST_CASE("Tensors that lie at odd addresses are read") {
  const TemporaryFolder folder;
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"I64","shape":[],"data_offsets":[1,9]}})";
  put(folder / "x.safetensors", raw_file(header, 9));
  CHECK(read_tensors(folder / "x.safetensors").at("b").item<int64_t>() == 0x0101010101010101);
}

TEST_CASE("Bytes of BOOL tensors other than 0 and 1 are read as true") {
  const TemporaryFolder folder;
  auto bytes = raw_file(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  bytes[bytes.size() - 1] = '\x42';
  put(folder / "x.safetensors", bytes);
  CHECK(at::equal(read_tensors(folder / "x.safetensors").at("a"), torch::ones({2}, torch::kBool)));
}

TEST_CASE("A damaged safetensors file is refused with file, tensor, found and expected") {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  CHECK_THAT(opening(""), Contains("x.safetensors") && Contains("found 0 bytes"));
  CHECK_THAT(opening("1234567"), Contains("found 7 bytes"));
  CHECK_THAT(opening(std::string(8, '\xff')), Contains("18446744073709551615") && Contains("at most 0"));
  CHECK_THAT(opening(raw_file("{}", 0).substr(0, 9)), Contains("a length of 2 bytes, expected at most 1"));
  CHECK_THAT(opening_header(""), Contains("begin with {"));
  CHECK_THAT(opening_header(" {}"), Contains("begin with {"));
  CHECK_THAT(opening_header("{\"a\":1,}"), Contains("line 1, column 8"));
  CHECK_THAT(opening_header("{\"\xff\":1}"), Contains("not JSON"));
  CHECK_THAT(opening_header("{\"a\":1e999}"), Contains("not JSON") && Contains("too large"));
  CHECK_THAT(opening_header("{\"a\":" + std::string(1000000, '[')), Contains("nested deeper than 100 levels"));
  CHECK_THAT(opening_header(R"({"t":1,"t":1})"), Contains("\"t\" occurs twice"));
  CHECK_THAT(opening_header(R"({"t":{"dtype":"F32","dtype":"F32"}})"), Contains("\"dtype\" occurs twice"));
  CHECK_THAT(opening_header(R"({"t":[1]})"), Contains("tensor \"t\": entry: found [1], expected an object"));
  CHECK_THAT(opening_header(R"({"t\n":1})"), Contains(R"("t\n")"));
  CHECK_THAT(opening_header(R"({"__metadata__":{"a":1}})"),
             Contains("__metadata__: \"a\": found 1, expected a string"));
  CHECK_THAT(opening_header(R"({"__metadata__":null})"), Contains("__metadata__: found null, expected an object"));
  CHECK_THAT(opening_header(R"({"t":{"shape":[],"data_offsets":[0,0]}})"), Contains("dtype: found nothing"));
  CHECK_THAT(opening_header(entry("\"F31\"", "[]", "[0,4]"), 4),
             Contains("dtype: found \"F31\", expected one of U64, I64, F64"));
  CHECK_THAT(opening_header(entry("7", "[]", "[0,4]"), 4), Contains("dtype: found 7"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[-1]", "[0,4]"), 4), Contains("shape: found -1"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[1.0]", "[0,4]"), 4), Contains("shape: found 1.0"));
  CHECK_THAT(opening_header(entry("\"F32\"", "1", "[0,4]"), 4), Contains("shape: found 1,"));
  CHECK_THAT(opening_header(entry("\"U8\"", "[18446744073709551615]", "[0,4]"), 4), Contains("2^63"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[4611686018427387904,4]", "[0,0]")), Contains("is too large"));
  CHECK_THAT(opening_header(entry("\"U8\"", "[4294967296,4294967296,0]", "[0,0]")), Contains("is too large"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[]", "[0]"), 4),
             Contains("data_offsets: found [0], expected an array of 2"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[]", "[-4,0]"), 4), Contains("data_offsets: found -4"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[]", "[4,0]"), 4), Contains("found 4 to 0"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[2]", "[0,8]"), 4),
             Contains("found 0 to 8") && Contains("4 bytes of data"));
  CHECK_THAT(opening_header(entry("\"F32\"", "[3,1]", "[0,4]"), 4),
             Contains("found 4 bytes, expected 12 for F32 [3, 1]"));
  CHECK_THAT(opening_header(entry("\"U8\"", "[4]", "[0,4]"), 5), Contains("found 5 bytes of data, expected 4"));
  CHECK_THAT(opening_header(entry("\"U8\"", "[4]", "[1,5]"), 5), Contains("a hole"));
  CHECK_THAT(
      opening_header(
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
          3),
      Contains("tensor \"b\"") && Contains("an overlap"));
}

TEST_CASE("What is no regular file is refused") {
  const TemporaryFolder folder;
  CHECK_THAT(message_of<CheckpointError>([&] { SafetensorsFile::open(folder / "none"); }),
             Contains("none: no such file"));
  CHECK_THAT(message_of<CheckpointError>([&] { SafetensorsFile::open(folder.get()); }), Contains("no regular file"));
  CHECK_THAT(message_of<CheckpointError>([&] { SafetensorsFile::open(goldens / "names.safetensors").read("x"); }),
             Contains("found no tensor \"x\""));
}

TEST_CASE("A safetensors file cut short anywhere is refused") {
  const TemporaryFolder folder;
  const auto bytes = read_text_file(goldens / "names.safetensors");
  for (size_t length = 0; length < bytes.size(); ++length) {
    put(folder / "x.safetensors", bytes.substr(0, length));
    INFO(length);
    CHECK_FALSE(reads_whole(folder / "x.safetensors"));
  }
}

TEST_CASE("A safetensors file with random bytes changed is read or refused") {
  const TemporaryFolder folder;
  const auto bytes = read_text_file(goldens / "dtypes.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const std::string telling = "{}[]\",:-0123456789e. \\\xff";
  std::mt19937 random(17);
  int refused = 0;
  constexpr int rounds = 5000;
  for (int round = 0; round < rounds; ++round) {
    auto damaged = bytes;
    for (auto flips = 1 + random() % 4; flips > 0; --flips) {
      auto& byte = damaged[random() % 10 == 0 ? random() % bytes.size() : 8 + random() % header];
      byte = random() % 2 ? telling[random() % telling.size()] : static_cast<char>(random());
    }
    put(folder / "x.safetensors", damaged);
    refused += !reads_whole(folder / "x.safetensors");
  }
  CHECK(refused > rounds / 2);
  CHECK(refused < rounds);
}

TEST_CASE("A full disk is reported with path and reason, and nothing is left") {
  const auto full = [](const auto& action) { return message_of<StorageError>(action); };
  CHECK_THAT(full([] { write_safetensors("/dev/full", {{"a", torch::ones({3})}}); }),
             Contains("/dev/full") && Contains("No space left on device"));
  CHECK_THAT(full([] { write_text_file("/dev/full", "text"); }), Contains("/dev/full") && Contains("No space left"));
  const TemporaryFolder folder;
  CHECK_THAT(full([&] { write_text_file(folder / "none" / "x", "text"); }), Contains("No such file or directory"));
}

TEST_CASE("A file that could not be written leaves the one before it in place") {
  const TemporaryFolder folder;
  write_text_file(folder / "x", "before");
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1000, .rlim_max = limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto message = message_of<StorageError>([&] { write_safetensors(folder / "x", {{"a", torch::ones({1000})}}); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(message, Contains("File too large"));
  CHECK(read_text_file(folder / "x") == "before");
  CHECK_FALSE(exists(folder / "x.partial"));
}

TEST_CASE("a link in the place of the file that is written first is not written through") {
  const TemporaryFolder folder;
  write_text_file(folder / "precious", "years of work");
  std::filesystem::create_symlink(folder / "precious", folder / "x.partial");
  CHECK_THAT(message_of<StorageError>([&] { write_text_file(folder / "x", "report"); }), Contains("x.partial: "));
  CHECK(read_text_file(folder / "precious") == "years of work");
}

TEST_CASE("Tensors that the format cannot hold are refused before a file is made") {
  const TemporaryFolder folder;
  const auto writing = [&](const std::string& name, const torch::Tensor& tensor) {
    const auto message = message_of<UnsupportedError>([&] { write_safetensors(folder / "x", {{name, tensor}}); });
    CHECK(std::filesystem::is_empty(folder.get()));
    return message;
  };
  CHECK_THAT(writing("a", torch::ones({1}, torch::kComplexFloat)), Contains("tensor \"a\"") && Contains("expected"));
  CHECK_THAT(writing("a", torch::ones({2, 2}).to_sparse()), Contains("dense"));
  CHECK_THAT(writing("a", torch::Tensor()), Contains("tensor \"a\""));
  CHECK_THAT(writing("__metadata__", torch::ones({1})), Contains("__metadata__"));
  CHECK_THAT(writing("\xff", torch::ones({1})), Contains("UTF-8"));
}

TEST_CASE("JSON errors name file, line and column") {
  const TemporaryFolder folder;
  const auto reading = [&](const std::string& text) {
    put(folder / "x.json", text);
    return message_of<CheckpointError>([&] { read_json_file(folder / "x.json"); });
  };
  CHECK_THAT(reading("{\n \"a\": 1,\n \"b\" 2}"), Contains("x.json: line 3, column 6: not JSON"));
  CHECK_THAT(reading(""), Contains("line 1, column 1"));
  CHECK_THAT(reading("{\"a\":1,\"b\":{\"a\":1,\"a\":2}}"), Contains("\"a\" occurs twice"));
  CHECK_THAT(message_of<CheckpointError>([&] { read_json_file(folder / "none"); }), Contains("no such file"));
  write_text_file(folder / "y.json", R"({"a":{"b":1},"b":[{"a":2},{"a":3}]})");
  CHECK(read_json_file(folder / "y.json")["b"][1]["a"] == 3);
}

TEST_CASE("A model of transformers is read from one file and from shards") {
  const auto single = read_state_dict(goldens / "single");
  check_same(read_state_dict(goldens / "sharded"), single);
  const auto values = read_json_file(goldens / "bert.json");
  REQUIRE(single.size() == values.size());
  for (const auto& [name, expected] : values.items()) {
    INFO(name);
    const auto& tensor = single.at(name);
    CHECK(tensor.sizes().vec() == expected["shape"].get<std::vector<int64_t>>());
    CHECK(tensor.flatten()[0].item<double>() == expected["first"].get<double>());
    CHECK(tensor.sum(torch::kDouble).item<double>() == Approx(expected["sum"].get<double>()));
  }
}

TEST_CASE("A state dict is written so that it is read the same") {
  const TemporaryFolder folder;
  const auto state = read_state_dict(goldens / "sharded");
  write_state_dict(folder.get(), state);
  check_same(read_state_dict(folder.get()), state);
}

TEST_CASE("An index may not lead out of its folder") {
  const TemporaryFolder folder;
  for (const char* shard :
       {"../single/model.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "", "a.bin"}) {
    INFO(shard);
    put(folder / "model.safetensors.index.json", json{{"weight_map", {{"w", shard}}}}.dump());
    CHECK_THAT(message_of<CheckpointError>([&] { read_state_dict(folder.get()); }),
               Contains("\"w\": found") && Contains("expected the name of a .safetensors file of this folder"));
  }
}

TEST_CASE("Missing shards, and tensors that are not in their shard, are all reported") {
  const TemporaryFolder folder;
  write_safetensors(folder / "one.safetensors", {{"a", torch::ones({1})}, {"extra", torch::ones({1})}});
  const auto reading = [&](const json& index) {
    put(folder / "model.safetensors.index.json", index.dump());
    return message_of<CheckpointError>([&] { read_state_dict(folder.get()); });
  };
  const json map{{"a", "one.safetensors"}, {"b", "one.safetensors"}, {"c", "two.safetensors"}};
  CHECK_THAT(reading({{"weight_map", map}}),
             Contains("1 shards missing (two.safetensors)") &&
                 Contains("1 tensors missing from their shards (\"b\" of one.safetensors)"));
  CHECK_THAT(reading({{"weight_map", {{"a", 1}}}}), Contains("\"a\": found 1, expected a string"));
  CHECK_THAT(reading(json::object()), Contains("weight_map: found none"));
  CHECK_THAT(reading(json::array()), Contains("weight_map: found none"));
  put(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors"}})");
  check_same(read_state_dict(folder.get()), {{"a", torch::ones({1})}});
}

TEST_CASE("A folder without safetensors is refused with advice") {
  const TemporaryFolder folder;
  CHECK_THAT(message_of<CheckpointError>([&] { read_state_dict(folder.get()); }),
             Contains("expected model.safetensors"));
  CHECK_THAT(message_of<CheckpointError>([&] { read_state_dict(folder / "none"); }), Contains("no such folder"));
  put(folder / "pytorch_model.bin", "");
  CHECK_THAT(message_of<UnsupportedError>([&] { read_state_dict(folder.get()); }), Contains("convert"));
}

TEST_CASE("A state dict fills a module, and floating-point tensors take the module's dtype") {
  Head from, to;
  from.steps.fill_(7);
  from.classifier->to(torch::kDouble);
  to.classifier->to(torch::kHalf);
  const auto report = load_state_dict(to, state_dict(from));
  CHECK(report.left_as_initialised.empty());
  CHECK(report.ignored.empty());
  CHECK(to.classifier->weight.scalar_type() == torch::kHalf);
  CHECK(to.classifier->weight.requires_grad());
  CHECK(at::equal(to.classifier->weight, from.classifier->weight.to(torch::kHalf)));
  CHECK(to.steps.item<int64_t>() == 7);
}

TEST_CASE("A state dict shares the memory of its module") {
  Head head;
  state_dict(head).at("classifier.bias").fill_(3);
  CHECK(at::equal(head.classifier->bias, torch::full({2}, 3.0)));
}

TEST_CASE("Everything that does not fit is reported at once, and the module stays as it was") {
  Head head;
  const auto before = head.classifier->bias.clone();
  StateDict state{{"classifier.weight", torch::ones({4, 3})},
                  {"classifier.bias", torch::zeros({2})},
                  {"other", torch::ones({1})},
                  {"cls.bias", torch::ones({1})}};
  const auto message = message_of<CheckpointError>([&] { load_state_dict(head, state, {.source = "folder/model"}); });
  CHECK_THAT(message, Contains("folder/model: 1 tensors missing (steps)") &&
                          Contains("2 tensors unexpected (cls.bias, other)") &&
                          Contains("classifier.weight: found Float [4, 3], expected Float [2, 3]"));
  CHECK(at::equal(head.classifier->bias, before));
  state = state_dict(head);
  state["steps"] = torch::ones({1}, torch::kInt);
  CHECK_THAT(message_of<CheckpointError>([&] { load_state_dict(head, state); }),
             Contains("found Int [1], expected Long [1]"));
}

TEST_CASE("Of many problems the first are named and all are counted") {
  Head head;
  StateDict state = state_dict(head);
  for (int i = 0; i < 9; ++i) state["x" + std::to_string(i)] = torch::ones({1});
  CHECK_THAT(message_of<CheckpointError>([&] { load_state_dict(head, state); }),
             Contains("9 tensors unexpected (x0, x1, x2, x3, x4, ...)"));
}

TEST_CASE("Allowed names may be missing and ignored names may be left over") {
  Head head;
  const StateDict state{{"steps", torch::ones({1}, torch::kLong)},
                        {"cls.bias", torch::ones({1})},
                        {"bert.embeddings.position_ids", torch::ones({1})}};
  const LoadOptions options{.allow_missing = {"classifier."}, .ignore = {"cls.", "bert.embeddings.position_ids"}};
  const auto report = load_state_dict(head, state, options);
  CHECK(report.left_as_initialised == std::vector<std::string>{"classifier.bias", "classifier.weight"});
  CHECK(report.ignored == std::vector<std::string>{"bert.embeddings.position_ids", "cls.bias"});
  CHECK(head.steps.item<int64_t>() == 1);
  CHECK_THAT(message_of<CheckpointError>([&] { load_state_dict(head, state, {.ignore = {"cls"}}); }),
             Contains("cls.bias"));
}

TEST_CASE("Names of a bare BertModel and of old checkpoints become canonical") {
  const auto one = torch::ones({1});
  const auto renamed = to_canonical("bert", {{"embeddings.LayerNorm.gamma", one},
                                             {"encoder.layer.0.output.LayerNorm.beta", one},
                                             {"pooler.dense.weight", one},
                                             {"classifier.weight", one},
                                             {"bert.pooler.dense.bias", one},
                                             {"cls.predictions.transform.LayerNorm.gamma", one}});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : renamed) names.push_back(name);
  CHECK(names == std::vector<std::string>{"bert.embeddings.LayerNorm.weight",
                                          "bert.encoder.layer.0.output.LayerNorm.bias", "bert.pooler.dense.bias",
                                          "bert.pooler.dense.weight", "classifier.weight",
                                          "cls.predictions.transform.LayerNorm.weight"});
}

TEST_CASE("Canonical names stay as they are") {
  const auto state = read_state_dict(goldens / "single");
  check_same(to_canonical("bert", state), state);
}

TEST_CASE("A prefix that all names of the encoder have is taken off") {
  const auto one = torch::ones({1});
  const auto names_of = [&](const StateDict& state, const std::string& model_type) {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : to_canonical(model_type, state)) names.push_back(name);
    return names;
  };
  const std::vector<std::string> expected{"bert.embeddings.word_embeddings.weight",
                                          "bert.encoder.layer.0.output.dense.weight", "classifier.weight"};
  for (const std::string prefix : {"", "module.", "model.", "module.model.", "_orig_mod."}) {
    INFO(prefix);
    CHECK(names_of({{prefix + "bert.embeddings.word_embeddings.weight", one},
                    {prefix + "bert.encoder.layer.0.output.dense.weight", one},
                    {prefix + "classifier.weight", one}},
                   "bert") == expected);
  }
  for (const std::string prefix : {"", "module.", "model.", "auto_model.", "encoder."}) {
    INFO(prefix);
    CHECK(names_of({{prefix + "embeddings.word_embeddings.weight", one},
                    {prefix + "encoder.layer.0.output.dense.weight", one},
                    {"classifier.weight", one}},
                   "bert") == expected);
  }
  CHECK(names_of({{"module.distilbert.embeddings.LayerNorm.gamma", one}, {"module.vocab_projector.bias", one}},
                 "distilbert") ==
        std::vector<std::string>{"distilbert.embeddings.LayerNorm.weight", "vocab_projector.bias"});
  const StateDict two{{"query.embeddings.word_embeddings.weight", one},
                      {"text.embeddings.word_embeddings.weight", one}};
  CHECK_THAT(message_of<CheckpointError>([&] { to_canonical("bert", two); }),
             Contains("found 2 encoders (tensors named query...., text....), expected one"));
}

TEST_CASE("A tensor may be there under two names") {
  const auto one = torch::ones({1});
  const StateDict state{{"pooler.dense.bias", one}, {"bert.pooler.dense.bias", one.clone()}};
  CHECK(to_canonical("bert", state).size() == 1);
}

TEST_CASE("The tensors of a folder are known by the headers of its files") {
  for (const auto* folder : {"single", "sharded"}) {
    TensorShapes expected;
    for (const auto& [name, tensor] : read_state_dict(goldens / folder)) expected[name] = tensor.sizes().vec();
    CHECK(read_tensor_shapes(goldens / folder) == expected);
  }
  const auto file_of = [](const char* folder, const char* name) {
    return open_checkpoint(goldens / folder).at(name)->path().filename().string();
  };
  CHECK(file_of("single", "classifier.bias") == "model.safetensors");
  CHECK_THAT(file_of("sharded", "classifier.bias"), Contains("-of-00003"));
}

TEST_CASE("The first number that is not finite is told with its place") {
  CHECK(not_finite(torch::ones({2, 3})).empty());
  CHECK(not_finite(torch::ones({2, 0})).empty());
  CHECK(not_finite(torch::full({2}, 3, torch::kLong)).empty());
  CHECK(not_finite(torch::tensor(1.5)).empty());
  for (const auto dtype : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    auto tensor = torch::zeros({2, 3}).to(dtype);
    tensor[1][2] = std::nan("");
    CHECK(not_finite(tensor) == "nan at [1, 2]");
    tensor[1][0] = -std::numeric_limits<double>::infinity();
    CHECK(not_finite(tensor) == "-inf at [1, 0]");
  }
  CHECK(not_finite(torch::full({}, std::nan(""))) == "nan at []");
}

TEST_CASE("Two tensors that differ and get one name, and unknown families, are refused") {
  const auto one = torch::ones({1});
  const StateDict state{{"pooler.dense.bias", one}, {"bert.pooler.dense.bias", one + 1}};
  CHECK_THAT(message_of<CheckpointError>([&] { to_canonical("bert", state); }),
             Contains("bert.pooler.dense.bias: found two"));
  CHECK_THAT(message_of<UnsupportedError>([&] { to_canonical("funnel", state); }),
             Contains("found \"funnel\", supported: bert"));
}

TEST_CASE("A published checkpoint is read") {
  const path folder = path(COMPRESS_SOURCE_DIR) / "models/all-MiniLM-L6-v2";
  if (!exists(folder)) {
    WARN("skipped: " << folder << " is not there");
    return;
  }
  const auto state = to_canonical("bert", read_state_dict(folder));
  CHECK(state.at("bert.embeddings.word_embeddings.weight").sizes() == torch::IntArrayRef({30522, 384}));
  CHECK(state.contains("bert.encoder.layer.5.output.LayerNorm.bias"));
  CHECK(state.size() == 104);  // with bert.embeddings.position_ids
}

TEST_CASE("a file that is cut short in place while it is read is an error, and what was read stays whole") {
  const TemporaryFolder root;
  const auto values = torch::arange(100000, torch::kFloat);
  write_safetensors(root / "a.safetensors", {{"a", values}, {"b", values}});
  const auto file = SafetensorsFile::open(root / "a.safetensors");
  const auto read = read_tensor(file, "a");
  std::filesystem::resize_file(root / "a.safetensors", 200'000);
  CHECK(torch::equal(read, values));
  CHECK_THAT(message_of<CheckpointError>([&] { read_tensor(file, "b"); }),
             Contains("a.safetensors: found 200000 bytes, expected 800") && Contains("it changed while it was read"));
}

TEST_CASE("tensors are read straight into a module's memory, which tells that it has changed") {
  const TemporaryFolder root;
  Head from, to;
  from.steps.fill_(7);
  write_state_dict(root.get(), state_dict(from));
  const auto weight = to.classifier->weight;
  const auto* memory = weight.data_ptr();
  const auto version = weight._version();
  load_state_dict(to, stored_state(open_checkpoint(root.get())));
  check_same(state_dict(to), state_dict(from));
  CHECK(to.classifier->weight.data_ptr() == memory);
  CHECK(weight._version() > version);
  to.classifier->to(torch::kHalf);
  load_state_dict(to, stored_state(open_checkpoint(root.get())));
  CHECK(at::equal(to.classifier->weight, from.classifier->weight.to(torch::kHalf)));
}

TEST_CASE("a module gets its first values where tensors stay new, and not where none does") {
  Head head;
  auto state = state_dict(head);
  int calls = 0;
  const LoadOptions options{.allow_missing = {"steps"}, .initialize = [&] { ++calls; }};
  load_state_dict(head, state, options);
  CHECK(calls == 0);
  state.erase("steps");
  load_state_dict(head, state, options);
  CHECK(calls == 1);
}
