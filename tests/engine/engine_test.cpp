// Models at work without LibTorch, against the modules that LibTorch computes.
#include "compress/engine/engine.h"

#include <malloc.h>

#include <algorithm>
#include <thread>

#include "compress/base/error.h"
#include "compress/base/fields.h"
#include "compress/engine/instances.h"
#include "compress/engine/network_state.h"
#include "compress/families/model_config.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;

/// Folders of every family and of every head.
std::vector<std::string> model_names() {
  std::vector<std::string> names{"model/tiny"};
  for (const auto* group : {"model/families", "model/heads"}) {
    for (const auto& entry : std::filesystem::directory_iterator(golden(group))) {
      if (entry.is_directory()) names.push_back(fmt::format("{}/{}", group, entry.path().filename().string()));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<int64_t> random_ids(int64_t count, int64_t end, std::mt19937& random) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(end)));
  return ids;
}

/// The module's logits for one text alone, [1, ...] as rows of the engine's width.
torch::Tensor module_rows(Model& model, const std::vector<int64_t>& ids, const std::vector<int64_t>& types) {
  const at::NoGradGuard no_grad;
  const auto row = [](const std::vector<int64_t>& values) { return torch::tensor(values).unsqueeze(0); };
  const auto logits = model->forward(text_batch(row(ids), torch::ones_like(row(ids)), row(types))).logits;
  return logits.reshape({-1, logits.size(-1)});
}

torch::Tensor engine_rows(const Outputs& outputs, size_t text) {
  const auto all = torch::tensor(outputs.values).view({outputs.rows(), outputs.width});
  return all.slice(0, outputs.begin[text], outputs.begin[text + 1]);
}

TEST_CASE("the engine gives what the module gives, for every head in each family") {
  const auto name = GENERATE(from_range(model_names()));
  INFO(name);
  auto model = load_model(golden(name)).model;
  const auto& config = model->config();
  if (!can_pack(config)) {
    CHECK_THROWS_AS(Engine::load(golden(name)), UnsupportedError);
    return;
  }
  const auto engine = Engine::load(golden(name));
  CHECK(engine->config() == config);
  std::mt19937 random(7);
  std::vector<std::vector<int64_t>> ids, types;
  for (const int64_t length : {1, 9, 3, 17, 5}) {
    ids.push_back(random_ids(length, config.vocab_size, random));
    types.push_back(random_ids(length, std::max<int64_t>(config.type_vocab_size, 1), random));
  }
  std::vector<TokenRow> rows;
  for (size_t i = 0; i < ids.size(); ++i) rows.push_back({ids[i], types[i]});
  const auto outputs = engine->run(rows);
  for (size_t i = 0; i < ids.size(); ++i) {
    INFO(i);
    const auto expected = module_rows(model, ids[i], types[i]);
    check_close(engine_rows(outputs, i), expected, 1e-5);
    check_close(engine_rows(engine->run(std::span(rows).subspan(i, 1)), 0), engine_rows(outputs, i), 1e-5);
    if (traits_of(config.task).is_of_text()) continue;
    auto asked = rows[i];
    asked.tokens = {{static_cast<int64_t>(ids[i].size()) - 1, 0}};
    const auto some = engine->run(std::vector{rows[0], asked});
    check_close(engine_rows(some, 1), torch::stack({expected[-1], expected[0]}), 1e-5);
  }
}

TEST_CASE("the engine pools as the module does, in every way and with several steps") {
  const auto folder = golden("sentence/model");
  auto modules = GENERATE(as<std::string>(), R"({"pooling_mode": ["cls"]})", R"({"pooling_mode": ["max", "mean"]})",
                          R"({"pooling_mode": ["mean_sqrt_len_tokens"]})", R"({"pooling_mode": ["weightedmean"]})",
                          R"({"pooling_mode": ["lasttoken", "cls"]})");
  INFO(modules);
  const TemporaryFolder copied;
  std::filesystem::copy(folder, copied.path(), std::filesystem::copy_options::recursive);
  std::filesystem::create_directories(copied / "1_Pooling");
  std::filesystem::create_directories(copied / "2_Dense");
  write_file(copied / "1_Pooling/config.json", modules);
  const auto width = modules.find(',') == std::string::npos ? 12 : 24;
  write_file(copied / "2_Dense/config.json",
             fmt::format(R"({{"in_features": {}, "out_features": 5, "bias": true, "activation_function":
                              "torch.nn.modules.activation.Tanh"}})",
                         width));
  write_safetensors(copied / "2_Dense/model.safetensors",
                    StateDict{{"linear.weight", torch::linspace(-1, 1, 5 * width).view({5, width})},
                              {"linear.bias", torch::linspace(-0.5, 0.5, 5)}});
  write_file(copied / "modules.json",
             R"([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}])");
  auto model = load_model(copied.path()).model;
  const auto engine = Engine::load(copied.path());
  const std::vector<int64_t> ids{2, 7, 9, 11, 3}, none(5);
  const auto outputs = engine->run(std::vector{TokenRow{ids}});
  CHECK(outputs.width == 5);
  check_close(engine_rows(outputs, 0), module_rows(model, ids, none), 1e-5);
}

TEST_CASE("several threads share an engine") {
  const auto engine = Engine::load(golden("model/tiny"));
  const std::vector<int64_t> ids{2, 5, 6, 7, 3};
  const auto expected = engine->run(std::vector{TokenRow{ids}}).values;
  std::vector<std::vector<float>> found(4);
  {
    std::vector<std::jthread> threads;
    for (auto& own : found) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) own = engine->run(std::vector{TokenRow{ids}}).values;
      });
    }
  }
  for (const auto& own : found) CHECK(own == expected);
}

TEST_CASE("rows that a model has no place for are refused, by number") {
  const auto engine = Engine::load(golden("model/tiny"));
  const std::vector<int64_t> good{2, 5, 3}, beyond{2, 64, 3}, negative{-1}, types{0, 2, 0};
  const std::vector<int64_t> longest(41, 5);
  const auto message = [&](const TokenRow& row) {
    return message_of<DataError>([&] { engine->run(std::vector{TokenRow{good}, row}); });
  };
  CHECK_THAT(message({}), Contains("text 2: found no tokens"));
  CHECK_THAT(message({beyond}), Contains("id 64 at token 1, expected from 0 to 63"));
  CHECK_THAT(message({negative}), Contains("id -1"));
  CHECK_THAT(message({good, types}), Contains("type 2 at token 1, expected from 0 to 1"));
  CHECK_THAT(message({good, std::span(types).first(1)}), Contains("1 token types for 3 tokens"));
  CHECK_THAT(message({longest}), Contains("41 tokens, expected at most the 40"));
  CHECK(engine->run({}).rows() == 0);
}

TEST_CASE("a folder with tensors that are odd, missing or misshapen is refused by the engine, in one line") {
  const auto state = read_state_dict(golden("model/tiny"));
  const TemporaryFolder folder;
  std::filesystem::copy_file(golden("model/tiny/config.json"), folder / "config.json");
  const auto message = [&](const std::string& name, const torch::Tensor& tensor) {
    auto changed = state;
    changed.erase(name);
    if (tensor.defined()) changed[name] = tensor;
    write_state_dict(folder.path(), changed);
    return message_of<CheckpointError>([&] { Engine::load(folder.path()); });
  };
  const std::string key = "bert.encoder.layer.0.attention.self.key.weight";
  CHECK_THAT(message(key, {}), Contains("1 tensors missing (" + key + ")"));
  CHECK_THAT(message(key, torch::zeros({32, 31})), Contains(key + ": found F32 [32, 31], expected F32 [32, 32]"));
  CHECK_THAT(message(key, torch::zeros({32, 32}, torch::kInt)), Contains(key + ": found I32"));
  auto odd = state.at(key).clone();
  odd[3][4] = std::numeric_limits<float>::infinity();
  CHECK_THAT(message(key, odd), Contains("tensor " + key + ": found inf at [3, 4], expected finite numbers"));
  auto overflows = state;  // to infinities of both signs, which the head adds up
  const auto last = load_model_config(golden("model/tiny")).layers.size() - 1;
  overflows[fmt::format("bert.encoder.layer.{}.output.LayerNorm.weight", last)] = torch::full({32}, 3e38f);
  write_state_dict(folder.path(), overflows);
  const std::vector<int64_t> ids{2, 5, 3};
  CHECK_THAT(message_of<CheckpointError>([&] { Engine::load(folder.path())->run(std::vector{TokenRow{ids}}); }),
             Contains("model.safetensors: found NaN or an infinity in what it gives for a text"));
}

TEST_CASE("tensors that hold several of ours are told by the engine by the names that the file has") {
  const std::string whole = "model.layers.1.attn.Wqkv.weight";
  const auto from = golden("model/families/modernbert");
  const TemporaryFolder folder;
  std::filesystem::copy_file(from / "config.json", folder / "config.json");
  const auto told = [&](const torch::Tensor& tensor) {
    auto state = read_state_dict(from);
    state.erase(whole);
    if (tensor.defined()) state[whole] = tensor;
    write_state_dict(folder.path(), state);
    return message_of<CheckpointError>([&] { Engine::load(folder.path()); });
  };
  CHECK_THAT(told({}), Contains("1 tensors missing (" + whole + ")"));
  CHECK_THAT(told(torch::ones({71, 24})), Contains("tensor " + whole + ": found [71, 24], expected [72, 24]"));
  CHECK_THAT(told(torch::ones({72, 23})), Contains("tensor " + whole + ": found [72, 23], expected [72, 24]"));
}

TEST_CASE("weights of 16 bits in a folder of Hugging Face's are read") {
  const auto type = GENERATE(torch::kHalf, torch::kBFloat16, torch::kDouble);
  const TemporaryFolder folder;
  std::filesystem::copy_file(golden("model/tiny/config.json"), folder / "config.json");
  auto state = read_state_dict(golden("model/tiny"));
  for (auto& [name, tensor] : state) {
    if (tensor.is_floating_point()) tensor = tensor.to(type);
  }
  write_state_dict(folder.path(), state);
  auto model = load_model(folder.path()).model;
  const std::vector<int64_t> ids{2, 5, 6, 7, 3}, types(5);
  check_close(engine_rows(Engine::load(folder.path())->run(std::vector{TokenRow{ids}}), 0),
              module_rows(model, ids, types), 1e-5);
}

#if !defined(__SANITIZE_ADDRESS__)  // whose allocator tells nothing
/// Bytes that this process has of the C library.
int64_t bytes_taken() {
  const auto info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

TEST_CASE("an engine of floats takes as much memory as their file") {
  const auto type = GENERATE(torch::kHalf, torch::kFloat);
  auto config = tiny_model()->config();
  config.hidden_size = 256;
  config.layers = blocks({{4, 1024}, {4, 1024}}, 64, config.layers.front());
  config.vocab_size = 2000;
  config.source = nullptr;
  Model model(config);
  model->initialize();
  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  auto state = read_state_dict(folder.path());
  for (auto& [name, tensor] : state) tensor = tensor.to(type);
  write_state_dict(folder.path(), state);
  state.clear();
  const auto before = bytes_taken();
  const auto engine = Engine::load(folder.path());
  const auto taken = static_cast<double>(bytes_taken() - before);
  const auto file = static_cast<double>(std::filesystem::file_size(folder / "model.safetensors"));
  CHECK(taken / file > 0.7);  // the table of words has pages of its own, which the C library does not count
  CHECK(taken / file < 1.1);
}
#endif

/// A golden model in fewer bits, as quantize::quantize() makes it: all matrices but the classifier's.
void write_in_fewer_bits(const std::string& name, WeightFormat format, const std::filesystem::path& folder) {
  auto config = load_model_config(golden(name));
  config.linear_format = config.embedding_format = format;
  auto state = read_state_dict(golden(name));
  for (const auto& [tensor_name, tensor] : read_state_dict(golden(name))) {
    if (tensor.dim() != 2 || tensor_name == "classifier.weight") continue;
    if (format != WeightFormat::int8) {
      state[tensor_name] = tensor.to(format == WeightFormat::float16 ? torch::kHalf : torch::kBFloat16);
      continue;
    }
    const auto scale = tensor.abs().amax({1}, /*keepdim=*/true) / 127;
    state[tensor_name] = (tensor / scale).round().to(torch::kChar);
    state[tensor_name + "_scale"] = scale;
  }
  write_file(folder / "config.json", write_model_config(config).dump());
  write_state_dict(folder, state);
}

TEST_CASE("a folder of fewer bits gives what the module of fewer bits gives") {
  const auto format = GENERATE(WeightFormat::int8, WeightFormat::float16, WeightFormat::bfloat16);
  const auto name = GENERATE(as<std::string>(), "model/tiny", "model/heads/modernbert.token_classification");
  INFO(name << ' ' << enum_name(format));
  const TemporaryFolder folder;
  write_in_fewer_bits(name, format, folder.path());
  auto model = load_model(folder.path()).model;
  const std::vector<int64_t> ids{2, 5, 6, 7, 3}, types(5);
  const auto found = engine_rows(Engine::load(folder.path())->run(std::vector{TokenRow{ids}}), 0);
  const auto expected = module_rows(model, ids, types);
  if (traits_of(model->config().task).is_of_text()) {
    CHECK(torch::equal(found, expected));  // all of it is the runtime's
  } else {
    check_close(found, expected, 1e-3);
  }
}

TEST_CASE("instances have threads of their own and share an engine") {
  const auto engine = Engine::load(golden("model/tiny"));
  const std::vector<int64_t> ids{2, 5, 6, 7, 3};
  std::vector<std::vector<float>> found(3);
  run_instances(3, 3,
                [&](int64_t i) { found[static_cast<size_t>(i)] = engine->run(std::vector{TokenRow{ids}}).values; });
  for (const auto& own : found) CHECK(own == found.front());
  CHECK(found.front().size() == 3);
}

}  // namespace
}  // namespace compression
