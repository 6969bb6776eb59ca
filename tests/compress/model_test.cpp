#include "tests/support.h"

#include "compress/base/error.h"
#include "compress/spec/cost.h"
#include "compress/state_dict/state_dict.h"

namespace compression {
namespace {

using namespace testing;

TEST_CASE("logits, hidden states and attention maps equal those of transformers") {
  const auto expected = golden_tensors("model/tiny.safetensors");
  auto model = tiny_model();
  const at::NoGradGuard no_grad;
  const auto plain = model->forward(golden_batch(expected));
  check_close(plain.logits, expected.at("logits"), 1e-5);
  CHECK(plain.hidden_states.empty());
  CHECK(plain.attentions.empty());

  const auto full = model->forward(golden_batch(expected), {.hidden_states = true, .attentions = true});
  check_close(full.logits, expected.at("logits"), 1e-5);
  REQUIRE(full.hidden_states.size() == 4);
  REQUIRE(full.attentions.size() == 3);
  const auto real = expected.at("attention_mask").to(torch::kFloat);
  for (size_t i = 0; i < 4; ++i) {
    check_close(full.hidden_states[i] * real.unsqueeze(-1),
                expected.at(fmt::format("hidden_states.{}", i)) * real.unsqueeze(-1), 1e-5);
  }
  for (size_t i = 0; i < 3; ++i) check_close(full.attentions[i], expected.at(fmt::format("attentions.{}", i)), 1e-5);
}

TEST_CASE("logits of all-MiniLM-L6-v2 equal those of transformers", "[real]") {
  if (!has_real_model("all-MiniLM-L6-v2")) return;
  const auto expected = golden_tensors("model/minilm.safetensors");
  auto model = load_model(COMPRESS_SOURCE_DIR "/models/all-MiniLM-L6-v2",
                          {.head = TaskHead{{"a", "b", "c", "d", "e"}}, .new_head = true})
                   .model;
  const at::NoGradGuard no_grad;
  model->head->classifier->weight.copy_(expected.at("weight"));
  model->head->classifier->bias.copy_(expected.at("bias"));
  const auto output = model->forward(golden_batch(expected), {.hidden_states = true});
  check_close(output.logits, expected.at("logits"), 1e-5);
  check_close(output.hidden_states.back().slice(1, 0, 3), expected.at("last_hidden_state").slice(1, 0, 3), 1e-5);
}

TEST_CASE("a batch without padding gives the same logits as its rows alone") {
  auto model = tiny_model();
  const at::NoGradGuard no_grad;
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto together = model->forward(batch).logits;
  for (int64_t i = 0; i < batch.size(); ++i) {
    const auto length = batch.attention_mask[i].sum().item<int64_t>();
    const auto row = [&](const torch::Tensor& t) { return t.slice(0, i, i + 1).slice(1, 0, length); };
    const Batch alone{row(batch.input_ids), row(batch.attention_mask), row(batch.token_type_ids), {}, {}};
    check_close(model->forward(alone).logits, together.slice(0, i, i + 1), 1e-5);
  }
}

TEST_CASE("a model that is written and read again has the same bytes and logits") {
  const TemporaryFolder folder;
  auto model = tiny_model();
  const auto tokenizer = load_tokenizer(golden("model/tiny"));
  save_model(model, *tokenizer, folder.path());
  CHECK(read_file(folder / "model.safetensors") == read_file(golden("model/tiny/model.safetensors")));
  CHECK(read_file(folder / "vocab.txt") == read_file(golden("model/tiny/vocab.txt")));
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const at::NoGradGuard no_grad;
  CHECK(torch::equal(load_model(folder.path()).model->forward(batch).logits, model->forward(batch).logits));
}

TEST_CASE("a head for other classes is made where that is allowed, and said") {
  const std::vector<std::string> other = {"x", "y"};
  const auto message =
      message_of<CheckpointError>([&] { load_model(golden("model/tiny"), {.head = TaskHead{other}}); });
  CHECK_THAT(message, Catch::Contains("3 classes") && Catch::Contains("[x, y]"));
  const auto loaded = load_model(golden("model/tiny"), {.head = TaskHead{other}, .new_head = true});
  CHECK(loaded.model->head->classifier->weight.size(0) == 2);
  CHECK(loaded.model->config().labels == other);
  REQUIRE(loaded.notes.size() == 1);
  CHECK(loaded.notes[0] == "a new head for 2 classes in place of one for 3 others");
}

TEST_CASE("a head whose classes are in another order is re-ordered") {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const at::NoGradGuard no_grad;
  const auto expected = tiny_model()->forward(batch).logits;
  const auto loaded = load_model(golden("model/tiny"), {.head = TaskHead{{"c", "a", "b"}}});
  CHECK(loaded.notes.empty());
  check_close(loaded.model.ptr()->forward(batch).logits, expected.index_select(1, torch::tensor({2, 0, 1})), 0.0);
}

TEST_CASE("classes without names are the integers, and are not guessed to be names") {
  const TemporaryFolder folder;
  auto model = tiny_model();
  model->config().labels = {"LABEL_0", "LABEL_1", "LABEL_2"};
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  const auto labels = [](std::vector<std::string> names) {
    return LoadModelOptions{.head = TaskHead{std::move(names)}};
  };
  CHECK(load_model(folder.path(), labels({"0", "1", "2"})).notes.empty());
  CHECK_THROWS_AS(load_model(folder.path(), labels({"a", "b", "c"})), CheckpointError);
}

TEST_CASE("a text longer than the model's positions is refused") {
  auto model = tiny_model();
  const auto ids = torch::zeros({1, 41}, torch::kLong);
  const auto message = message_of<UnsupportedError>([&] { model->forward({ids, torch::ones_like(ids), {}, {}, {}}); });
  CHECK_THAT(message, Catch::Contains("41") && Catch::Contains("40"));
}

TEST_CASE("a copy shares nothing with its original") {
  auto model = tiny_model();
  auto twin = copy(model);
  const at::NoGradGuard no_grad;
  twin->head->classifier->bias += 1.0;
  CHECK_FALSE(torch::equal(twin->head->classifier->bias, model->head->classifier->bias));
}

TEST_CASE("parameters are counted as the model has them, multiply-adds as its matrices say") {
  auto model = tiny_model();
  int64_t count = 0;
  for (const auto& p : model->parameters()) count += p.numel();
  CHECK(parameter_count(model->config()) == count);
  // 3 layers of 10 tokens: 4 projections 32x32, FFN 2 x 32x48, attention 2 x 10x10x32.
  CHECK(encoder_macs(model->config(), 10) == 3 * (10 * (4 * 32 * 32 + 2 * 32 * 48) + 2 * 10 * 10 * 32));
}

}  // namespace
}  // namespace compression
