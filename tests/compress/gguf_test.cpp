#include "compress/checkpoint/gguf.h"

#include <random>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/ops/host_tensors.h"
#include "tests/support.h"

using namespace compression;
using namespace compression::testing;
using Catch::Contains;

namespace {

template <class Number>
std::string bytes_of(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

std::string text(const std::string& value) {
  return bytes_of<uint64_t>(value.size()) + value;
}

/// A file by hand: entries of metadata, rows of the table, and data behind the alignment's padding.
struct Parts {
  std::vector<std::string> metadata = {}, tensors = {};
  std::string data = {};
  size_t alignment = 32;

  std::string file() const {
    auto bytes =
        "GGUF" + bytes_of<uint32_t>(3) + bytes_of<uint64_t>(tensors.size()) + bytes_of<uint64_t>(metadata.size());
    for (const auto& entry : metadata) bytes += entry;
    for (const auto& row : tensors) bytes += row;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return bytes + data;
  }
};

std::string row(const std::string& name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
  auto bytes = text(name) + bytes_of<uint32_t>(static_cast<uint32_t>(sizes.size()));
  for (const auto size : sizes) bytes += bytes_of(size);
  return bytes + bytes_of(type) + bytes_of(offset);
}

std::string number_entry(const std::string& key, uint32_t value) {
  return text(key) + bytes_of<uint32_t>(4) + bytes_of(value);
}

template <class E = CheckpointError>
std::string opening(const std::string& bytes) {
  const TemporaryFolder folder;
  write_file(folder / "x.gguf", bytes);
  const auto message = message_of<E>([&] { GgufFile::open(folder / "x.gguf"); });
  CHECK(message.find('\n') == std::string::npos);
  return message;
}

std::string opening(const Parts& parts) {
  return opening(parts.file());
}

bool is_same(const HostTensor& found, const HostTensor& expected) {
  return found.shape == expected.shape && found.dtype == expected.dtype &&
         std::memcmp(found.data.get(), expected.data.get(), static_cast<size_t>(expected.bytes())) == 0;
}

/// Opens a file and reads every tensor. True if it was in order.
bool reads_whole(const std::filesystem::path& path) {
  try {
    const auto file = GgufFile::open(path);
    for (const auto& [name, info] : file.tensors()) file.read(name);
    return true;
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return false;
  }
}

}  // namespace

TEST_CASE("numbers of every type of GGUF are those of the reference library, bit for bit") {
  const auto file = GgufFile::open(golden("gguf/types.gguf"));
  const auto expected = SafetensorsFile::open(golden("gguf/types.safetensors"));
  REQUIRE(file.tensors().size() == expected.tensors().size());
  for (const auto& [name, info] : expected.tensors()) {
    INFO(name);
    const auto found = file.read(name), wanted = expected.read(name);
    if (name == "F16" || name == "BF16") {  // which stay as they are
      CHECK(found.dtype == (name == "F16" ? DType::float16 : DType::bfloat16));
      CHECK(torch::equal(ops::torch_tensor(found).to(torch::kFloat), ops::torch_tensor(wanted)));
    } else {
      CHECK(is_same(found, wanted));
    }
  }
}

TEST_CASE("metadata of every type of GGUF are read") {
  const auto file = GgufFile::open(golden("gguf/types.gguf"));
  const auto expected = nlohmann::json::parse(R"({"general.architecture": "llama", "test.uint8": 200, "test.int8": -100,
    "test.uint16": 60000, "test.int16": -30000, "test.uint32": 4000000000, "test.int32": -2000000000,
    "test.uint64": 18446744073709551615, "test.int64": -9223372036854775808, "test.float32": 1.5, "test.float64": 0.1,
    "test.bool": true, "test.string": "größe 漢字", "test.strings": ["a", "", "ü"], "test.numbers": [1, -2, 3],
    "test.floats": [0.5, -1.25], "test.bools": [true, false]})");
  CHECK(file.metadata() == expected);
}

TEST_CASE("a tensor of many blocks is read in pieces as it is whole") {
  constexpr int64_t rows = 70, columns = 512;  // Q8_0: 1,120 blocks
  std::string data;
  std::mt19937 random(17);
  std::vector<float> expected;
  for (int64_t block = 0; block < rows * columns / 32; ++block) {
    data += bytes_of<uint16_t>(0x3800);  // 0.5
    for (int i = 0; i < 32; ++i) {
      const auto value = static_cast<int8_t>(random());
      data += bytes_of(value);
      expected.push_back(0.5f * static_cast<float>(value));
    }
  }
  const TemporaryFolder folder;
  write_file(folder / "x.gguf", Parts{.tensors = {row("t", {columns, rows}, 8, 0)}, .data = data}.file());
  const auto found = GgufFile::open(folder / "x.gguf").read("t");
  CHECK((found.shape == std::vector<int64_t>{rows, columns}));
  CHECK(std::equal(expected.begin(), expected.end(), found.as<float>()));
}

TEST_CASE("a damaged GGUF file is refused with file, key or tensor, found and expected") {
  CHECK_THAT(opening(""), Contains("x.gguf: expected a GGUF file"));
  CHECK_THAT(opening("GGML" + std::string(20, '\0')), Contains("expected a GGUF file"));
  CHECK_THAT(opening<UnsupportedError>("GGUF" + bytes_of<uint32_t>(1)),
             Contains("found version 1 of GGUF, supported: 3"));
  CHECK_THAT(opening("GGUF" + bytes_of<uint32_t>(3)), Contains("header: found its end at byte 8"));
  CHECK_THAT(opening("GGUF" + bytes_of<uint32_t>(3) + bytes_of(UINT64_MAX) + bytes_of<uint64_t>(0)),
             Contains("found 18446744073709551615 tensors, expected at most 1048576"));
  CHECK_THAT(opening("GGUF" + bytes_of<uint32_t>(3) + bytes_of<uint64_t>(0) + bytes_of(UINT64_MAX)),
             Contains("header: found its end at byte 24"));
  CHECK_THAT(opening({.metadata = {bytes_of(UINT64_MAX)}}), Contains("expected 18446744073709551615 bytes more"));
  CHECK_THAT(opening({.metadata = {text("k") + bytes_of<uint32_t>(13)}}),
             Contains("metadata \"k\": found a value of type 13"));
  CHECK_THAT(opening({.metadata = {number_entry("k", 1), number_entry("k", 1)}}),
             Contains("metadata \"k\" occurs twice"));
  CHECK_THAT(opening({.metadata = {text("k") + bytes_of<uint32_t>(9) + bytes_of<uint32_t>(0) + bytes_of(UINT64_MAX)}}),
             Contains("expected 18446744073709551615 bytes more"));
  CHECK_THAT(opening<UnsupportedError>(
                 Parts{.metadata = {text("k") + bytes_of<uint32_t>(9) + bytes_of<uint32_t>(9) + bytes_of<uint64_t>(0)}}
                     .file()),
             Contains("metadata \"k\": found an array of arrays"));
  for (const uint32_t alignment : {0u, 3u, 1u << 21}) {
    CHECK_THAT(opening({.metadata = {number_entry("general.alignment", alignment)}}),
               Contains("general.alignment: found " + std::to_string(alignment) + ", expected a power of two"));
  }
  CHECK_THAT(opening({.metadata = {text("general.alignment") + bytes_of<uint32_t>(8) + text("32")}}),
             Contains("general.alignment: found \"32\""));
  CHECK_THAT(opening({.tensors = {row("t", {1, 1, 1, 1, 1}, 0, 0)}, .data = std::string(4, '\0')}),
             Contains("tensor \"t\": found 5 dimensions, expected at most 4"));
  CHECK_THAT(opening<UnsupportedError>(Parts{.tensors = {row("t", {256}, 10, 0)}}.file()),
             Contains("tensor \"t\": found numbers of type 10, supported: 0 (F32), 1 (F16)"));
  CHECK_THAT(opening({.tensors = {row("t", {48}, 8, 0)}}),
             Contains("found rows of 48 numbers, expected a multiple of the 32 of a block of Q8_0"));
  CHECK_THAT(opening({.tensors = {row("t", {uint64_t{1} << 63}, 0, 0)}}), Contains("is too large"));
  CHECK_THAT(opening({.tensors = {row("t", {uint64_t{1} << 31, uint64_t{1} << 31}, 0, 0)}}), Contains("is too large"));
  CHECK_THAT(opening({.tensors = {row("t", {2}, 0, 0)}, .data = std::string(7, '\0')}),
             Contains("tensor \"t\": found 7 bytes of data in the file, expected 8"));
  const std::string data(64, '\0');
  CHECK_THAT(opening({.tensors = {row("a", {8}, 0, 0), row("b", {8}, 0, 16)}, .data = data}),
             Contains("tensor \"b\": found its data at byte 16, expected 32"));
  CHECK_THAT(opening({.tensors = {row("a", {2}, 0, 0), row("b", {2}, 0, 8)}, .data = data}),
             Contains("found its data at byte 8, expected 32"));
  CHECK_THAT(opening({.tensors = {row("a", {8}, 0, 0), row("a", {8}, 0, 32)}, .data = data}),
             Contains("tensor \"a\" occurs twice"));
}

TEST_CASE("the alignment of a GGUF file is the one that it names") {
  const TemporaryFolder folder;
  Parts parts{.metadata = {number_entry("general.alignment", 8)},
              .tensors = {row("a", {2}, 24, 0), row("b", {2}, 24, 8)},
              .data = std::string("\1\2______\3\4", 10),
              .alignment = 8};
  write_file(folder / "x.gguf", parts.file());
  const auto b = GgufFile::open(folder / "x.gguf").read("b");
  CHECK((b.as<int8_t>()[0] == 3 && b.as<int8_t>()[1] == 4));
}

TEST_CASE("a GGUF file cut short anywhere, or with random bytes changed, is read or refused") {
  const TemporaryFolder folder;
  const auto path = folder / "x.gguf";
  const auto bytes = read_text_file(golden("gguf/types.gguf"));
  for (size_t length = 0; length < bytes.size(); length += length < 1300 ? 1 : 97) {
    write_file(path, std::string_view(bytes).substr(0, length));
    INFO(length);
    CHECK_FALSE(reads_whole(path));
  }
  std::mt19937 random(17);
  int refused = 0;
  constexpr int rounds = 2000;
  for (int round = 0; round < rounds; ++round) {
    auto damaged = bytes;
    for (auto flips = 1 + random() % 4; flips > 0; --flips) damaged[random() % 1120] = static_cast<char>(random());
    write_file(path, damaged);
    refused += !reads_whole(path);
  }
  CHECK(refused > rounds / 4);
  CHECK(refused < rounds);
}

TEST_CASE("a GGUF file is a checkpoint, by its own path or as the only one of a folder") {
  const TemporaryFolder folder;
  std::filesystem::copy_file(golden("gguf/types.gguf"), folder / "model.gguf");
  for (const auto& path : {folder.path(), folder / "model.gguf"}) {
    const auto state = read_state_dict(path);
    CHECK(state.size() == 12);
    CHECK(state.at("Q4_K").sizes() == torch::IntArrayRef({3, 512}));
    CHECK(read_tensor_shapes(path).at("vector") == std::vector<int64_t>{7});
    CHECK(weight_bytes(path) == static_cast<int64_t>(std::filesystem::file_size(folder / "model.gguf")));
  }
  std::filesystem::copy_file(golden("gguf/types.gguf"), folder / "other.gguf");
  CHECK_THAT(message_of<CheckpointError>([&] { open_checkpoint(folder.path()); }),
             Contains("found 2 GGUF files (model.gguf, other.gguf), expected one"));
}

TEST_CASE("rows of rotary projections are found where the conversion to GGUF has put them") {
  // What llama.cpp does: reshape(heads, 2, head_size / 2).swapaxes(1, 2).
  const auto file = torch::arange(24, torch::kLong).reshape({2, 2, 6}).transpose(1, 2).reshape({24});
  const auto rows = torch::tensor(gguf_rotary_rows(2, 12), torch::kLong);
  CHECK(torch::equal(file.index_select(0, rows), torch::arange(24, torch::kLong)));
}
