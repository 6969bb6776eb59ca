#include "tests/support.h"

#include <nlohmann/json.hpp>

#include "compress/workflow/error.h"
#include "compress/workflow/fields.h"
#include "prune/cut.h"
#include "prune/importance.h"

namespace compression::prune {
namespace {

using namespace testing;

Importance tiny_importance(Model& model) {
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), 3);
  LabelObjective objective(model);
  return score_units(model, objective, source, quiet_context({}));
}

TEST_CASE("first-order scores equal PyTorch's mask gradients, summed over batches") {
  const auto expected = golden_tensors("model/tiny.safetensors");
  auto model = tiny_model();
  const auto importance = tiny_importance(model);
  REQUIRE(importance.size() == 6);
  for (const auto& group : importance) {
    check_close(group.scores, expected.at(fmt::format("importance.{}.{}", enum_name(group.kind), group.layer)), 1e-5);
  }
  for (const auto& group : model->prunable_units()) CHECK_FALSE(group.mask->defined());
  for (const auto& p : model->parameters()) CHECK_FALSE(p.grad().defined());
}

TEST_CASE("the best units stay, in their old order, and of equal ones the first") {
  const Importance importance = {{UnitKind::heads, 0, torch::tensor({0.3f, 0.1f, 0.9f, 0.2f})},
                                 {UnitKind::intermediate, 0, torch::tensor({1.0f, 5.0f, 1.0f, 1.0f, 7.0f})}};
  const auto kept = choose_units(importance, {.heads = 2, .intermediate_size = 3});
  CHECK(torch::equal(kept[0], torch::tensor({0, 2})));
  CHECK(torch::equal(kept[1], torch::tensor({0, 1, 4})));
  CHECK(choose_units(importance, {.heads = 1, .intermediate_size = std::nullopt})[1].size(0) == 5);
  CHECK_THAT(
      message_of<ConfigError>([&] { choose_units(importance, {.heads = 5, .intermediate_size = std::nullopt}); }),
      Catch::Contains("5 to keep") && Catch::Contains("layer 0 has 4"));
}

TEST_CASE("the rebuilt model computes what the masked one does") {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto [heads, units] = GENERATE(std::pair<int64_t, int64_t>{2, 20}, std::pair<int64_t, int64_t>{1, 1},
                                       std::pair<int64_t, int64_t>{3, 47}, std::pair<int64_t, int64_t>{4, 48});
  auto model = tiny_model();
  const auto kept = choose_units(tiny_importance(model), {heads, units});
  const at::NoGradGuard no_grad;
  const auto whole = model->forward(batch).logits;
  mask_units(*model, kept);
  const auto masked = model->forward(batch).logits;
  if (heads < 4) CHECK_FALSE(torch::allclose(whole, masked));
  cut_units(*model, kept);
  CHECK(model->encoder->layers[1]->query->weight.size(0) == heads * 8);
  CHECK(model->encoder->layers[1]->attention_output->weight.size(1) == heads * 8);
  CHECK(model->encoder->layers[2]->output->weight.size(1) == units);
  check_close(model->forward(batch).logits, masked, 1e-5);
}

TEST_CASE("masks can be taken away again") {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto model = tiny_model();
  const at::NoGradGuard no_grad;
  const auto whole = model->forward(batch).logits;
  std::vector<torch::Tensor> first_only;
  for (int i = 0; i < 6; ++i) first_only.push_back(torch::tensor({int64_t{0}}));
  mask_units(*model, first_only);
  clear_masks(*model);
  CHECK(torch::equal(model->forward(batch).logits, whole));
}

TEST_CASE("a pruned model, uneven layers too, reloads with equal logits") {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto model = tiny_model();
  const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
  cut_units(*model, {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  auto again = load_model(folder.path()).model;
  CHECK((again->config().layers == std::vector<LayerShape>{{2, 3}, {1, 2}, {3, 1}}));
  const at::NoGradGuard no_grad;
  CHECK(torch::equal(again->forward(batch).logits, model->forward(batch).logits));
}

TEST_CASE("a pruned model can be trained and scored again") {
  auto model = tiny_model();
  cut_units(*model, choose_units(tiny_importance(model), {2, 20}));
  for (const auto& p : model->parameters()) CHECK(p.requires_grad());
  LabelObjective(model).loss(golden_batch(golden_tensors("model/tiny.safetensors"))).backward();
  CHECK((model->encoder->layers[0]->query->weight.grad().sizes() == torch::IntArrayRef{16, 32}));
  CHECK(tiny_importance(model)[0].scores.size(0) == 2);
}

TEST_CASE("scores are written and read as JSON") {
  auto model = tiny_model();
  const auto importance = tiny_importance(model);
  const auto again = read_importance(nlohmann::json::parse(importance_json(importance).dump()), "importance.json");
  REQUIRE(again.size() == importance.size());
  for (size_t i = 0; i < again.size(); ++i) {
    CHECK(again[i].kind == importance[i].kind);
    CHECK(again[i].layer == importance[i].layer);
    check_close(again[i].scores, importance[i].scores, 0.0);
  }
  CHECK_THAT(message_of<CheckpointError>([] {
               read_importance({{"groups", {1}}}, "x/importance.json");
             }),
             Catch::Contains("x/importance.json"));
}

TEST_CASE("scoring without texts is an error") {
  auto model = tiny_model();
  CHECK_THROWS_AS(score_units(*model, [] { return std::optional<torch::Tensor>(); }), DataError);
  for (const auto& group : model->prunable_units()) CHECK_FALSE(group.mask->defined());
}

}  // namespace
}  // namespace compression::prune
