// Texts that decoders make, against transformers (tests/goldens/model/make_generate_goldens.py).
#include "compress/model/generate.h"

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/model_folder/language_model_folder.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;
using Ids = std::vector<int64_t>;

LanguageModel golden_decoder(const std::string& name) {
  return load_language_model(golden("model/decoders/" + name));
}

/// The likeliest word each time, all of the text computed again.
Ids without_cache(LanguageModel& model, Ids ids, int64_t count) {
  const c10::InferenceMode inference;
  const auto first = ids.size();
  for (int64_t i = 0; i < count; ++i) {
    const auto logits = model->forward(torch::tensor(ids, torch::kLong).unsqueeze(0));
    ids.push_back(logits[0][-1].argmax().item<int64_t>());
  }
  return {ids.begin() + static_cast<int64_t>(first), ids.end()};
}

}  // namespace

TEST_CASE("decoders continue texts as transformers does, together and alone, with a cache and without") {
  const auto goldens = read_json_file(golden("model/generated.json"));
  REQUIRE(goldens.size() >= 11);
  for (const auto& [name, of] : goldens.items()) {
    INFO(name);
    auto model = golden_decoder(name);
    const auto prompts = of.at("prompts").get<std::vector<Ids>>();
    const auto together = of.at("together").get<std::vector<Ids>>(), alone = of.at("alone").get<std::vector<Ids>>();
    const GenerateOptions options{.max_new_tokens = static_cast<int64_t>(alone.front().size())};
    CHECK(generate(model, prompts, options) == together);
    for (size_t i = 0; i < prompts.size(); ++i) {
      CHECK(generate(model, {prompts[i]}, options).front() == alone[i]);
      CHECK(without_cache(model, prompts[i], options.max_new_tokens) == alone[i]);
    }
  }
}

TEST_CASE("logits with a cache are those of the whole text, however it is parted") {
  const auto name = GENERATE(as<std::string>(), "gpt2", "llama", "mpt", "gemma3", "qwen3");
  INFO(name);
  auto model = golden_decoder(name);
  const c10::InferenceMode inference;
  const auto ids = torch::tensor(Ids{7, 11, 13, 5, 31, 22, 6, 18, 9, 40, 12, 3}, torch::kLong).unsqueeze(0);
  const auto whole = model->forward(ids);
  for (const auto& parts : {std::vector<int64_t>{12}, {5, 7}, {1, 1, 8, 2}}) {
    KeyValueCache cache;
    int64_t first = 0;
    for (const auto count : parts) {
      const auto logits = model->next_word(ids.slice(1, first, first + count), {}, cache);
      first += count;
      check_close(logits[0], whole[0][first - 1], 1e-5 * whole.abs().max().item<double>());
      CHECK(cache.length == first);
    }
  }
}

TEST_CASE("a text ends with an end, at the last position, or when there are enough words") {
  auto model = golden_decoder("llama");
  const Ids prompt{7, 11, 13, 5, 31, 22, 6, 18, 9, 40, 12};
  const auto all = generate(model, {prompt}, {.max_new_tokens = 1000}).front();
  CHECK(static_cast<int64_t>(prompt.size() + all.size()) == model->config().max_length() + 1);
  CHECK(generate(model, {prompt}, {.max_new_tokens = 0}).front().empty());
  CHECK(generate(model, {}, {}).empty());

  const auto end = all[3];
  std::vector<std::pair<size_t, int64_t>> told;
  const auto made = generate(model, {prompt, {33}}, {.max_new_tokens = 9, .end_ids = {1'000, end}},
                             [&](size_t text, int64_t id) { told.emplace_back(text, id); });
  CHECK(made[0] == Ids(all.begin(), std::ranges::find(all, end) + 1));
  CHECK(made[0].size() < 9);
  size_t of_first = 0;
  for (const auto& [text, id] : told) of_first += text == 0;
  CHECK(of_first == made[0].size());
  CHECK(told.size() == made[0].size() + made[1].size());

  CHECK_THROWS_AS(generate(model, {{}}, {}), ConfigError);
  CHECK_THROWS_AS(generate(model, {Ids(200, 5)}, {}), UnsupportedError);
  CHECK_THROWS_WITH(generate(model, {{7}, {60}}, {}),
                    "prompt 2: found the id 60, expected ids below 60, the model's words");
  CHECK_THROWS_AS(generate(model, {{-1}}, {}), UnsupportedError);
  auto behind_encoder = golden_decoder("bart");
  CHECK_THROWS_AS(generate(behind_encoder, {prompt}, {}), UnsupportedError);
}

TEST_CASE("words are drawn as often as their probabilities say, of the likeliest alone where that is asked for") {
  const auto logits = torch::tensor({0.0, 2.0, 1.0, -1.0, 1.5}, torch::kFloat);
  const auto shares_of = [&](const GenerateOptions& options) {
    constexpr int64_t draws = 20'000;
    std::vector<double> shares(5, 0.0);
    for (int64_t i = 0; i < draws; ++i) {
      shares[static_cast<size_t>(drawn_word(logits, options, (static_cast<double>(i) + 0.5) / draws))] += 1.0 / draws;
    }
    return torch::tensor(shares, torch::kDouble);
  };
  const auto all = torch::softmax(logits.to(torch::kDouble), 0);
  check_close(shares_of({.temperature = 1.0}), all, 1e-4);
  check_close(shares_of({.temperature = 0.5}), torch::softmax(logits.to(torch::kDouble) / 0.5, 0), 1e-4);
  const auto of = [&](std::initializer_list<int64_t> kept) {
    auto some = torch::zeros_like(all);
    for (const auto id : kept) some[id] = all[id];
    return some / some.sum();
  };
  check_close(shares_of({.temperature = 1.0, .top_k = 2}), of({1, 4}), 1e-4);
  check_close(shares_of({.temperature = 1.0, .top_k = 50}), all, 1e-4);
  // 1 has 0.46, 4 has 0.28, 2 has 0.17
  check_close(shares_of({.temperature = 1.0, .top_p = 0.4}), of({1}), 1e-4);
  check_close(shares_of({.temperature = 1.0, .top_p = 0.7}), of({1, 4}), 1e-4);
  CHECK(drawn_word(logits, {.temperature = 1.0, .top_p = 0.4}, 0.999) == 1);

  auto model = golden_decoder("llama");
  const GenerateOptions drawn{.max_new_tokens = 12, .temperature = 2.0, .seed = 3};
  const auto made = generate(model, {{7, 11}, {33}}, drawn);
  CHECK(made == generate(model, {{7, 11}, {33}}, drawn));
  auto other = drawn;
  other.seed = 4;
  CHECK(made != generate(model, {{7, 11}, {33}}, other));
}

}  // namespace compression
