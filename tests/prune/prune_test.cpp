#include "tests/support.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "compress/base/error.h"
#include "compress/base/fields.h"
#include "compress/spec/cost.h"
#include "prune/allocate.h"
#include "prune/blocks.h"
#include "prune/heat_map.h"
#include "prune/hidden.h"
#include "prune/importance.h"
#include "prune/latency.h"
#include "prune/reconstruct.h"
#include "prune/rounds.h"
#include "prune/schedule.h"
#include "prune/surgeon.h"
#include "prune/vocabulary.h"

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
  CHECK(model->encoder->layers[1]->linear(Role::query)->weight.size(0) == heads * 8);
  CHECK(model->encoder->layers[1]->linear(Role::attention_output)->weight.size(1) == heads * 8);
  CHECK(model->encoder->layers[2]->linear(Role::down)->weight.size(1) == units);
  check_close(model->forward(batch).logits, masked, 1e-5);
}

TEST_CASE("a model of fewer tokens computes the same of those that stay") {
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto model = tiny_model();
  const auto ids =
      std::get<0>(torch::_unique(torch::cat({batch.input_ids().flatten(), torch::zeros({1}, torch::kLong)})));
  const std::vector<int64_t> kept(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + ids.numel());
  const auto smaller = keep_tokens(model, kept);
  CHECK(smaller->config().vocab_size == static_cast<int64_t>(kept.size()));
  CHECK(smaller->config().vocab_size < model->config().vocab_size);
  CHECK(smaller->encoder->embeddings->word_embeddings->weight.size(0) == smaller->config().vocab_size);
  const at::NoGradGuard no_grad;
  const auto expected = model->forward(batch).logits;
  batch["input_ids"] = torch::bucketize(batch.input_ids(), torch::tensor(kept));
  CHECK(torch::equal(Model(smaller)->forward(batch).logits, expected));
  CHECK_THROWS_AS(keep_tokens(model, {1, 2, 3}), std::invalid_argument);  // without padding
}

TEST_CASE("the padding token may be the last of a vocabulary that is cut, but where positions count from it") {
  auto config = tiny_model()->config();
  config.pad_token_id = 60;
  const Model model(config);
  CHECK(keep_tokens(model, {5, 7, 60})->config().pad_token_id == 2);
  config.input.positions_after_padding = true;
  const Model counting(config);
  CHECK_THROWS_AS(keep_tokens(counting, {5, 7, 60}), std::invalid_argument);
}

TEST_CASE("layers of every family are timed, whatever they know of distances") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  auto config = load_model(golden("model/families/" + name)).model->config();
  if (config.positions() == Positions::rotary) config.layers.front().attention.window = 3;
  const auto table = measure_layers(config, 12);
  CHECK(table.heads.front().ms > 0.0);
}

TEST_CASE("a budget of latency is met by the table of layer times") {
  auto model = tiny_model();
  const auto importance = magnitude_scores(*model);
  const LatencyTable table{.heads = {}, .intermediate = {}, .per_head = 0.3, .per_unit = 0.02, .fixed = 0.1};
  const auto timed = [&](const ModelConfig&, int64_t length) {
    CHECK(length == 20);
    return table;
  };
  const auto time = [&](const std::vector<torch::Tensor>& kept) {
    double sum = 0.0;
    for (size_t i = 0; i < kept.size(); i += 2) sum += table.of(kept[i].numel(), kept[i + 1].numel());
    return sum;
  };
  const auto whole = 3 * table.of(4, 48);
  const Budget half(model, {.latency_reduction = 2.0}, 20, timed);
  CHECK(half.latency()->per_head == 0.3);
  CHECK(time(half.choose(importance)) <= whole / 2 + 1e-9);
  CHECK(time(half.choose(importance)) > whole / 2 - 0.32);  // no other unit would have had room
  CHECK(time(half.choose(importance, 0.5)) <= whole * 0.75 + 1e-9);
  CHECK(time(Budget(model, {.latency_reduction = 1.0}, 20, timed).choose(importance)) == Approx(whole));
  CHECK_THAT(message_of<ConfigError>([&] { Budget(model, {.latency_reduction = 30.0}, 20, timed).choose(importance); }),
             Catch::Contains("the budget leaves 0.0 %"));
}

TEST_CASE("layers are timed by their numbers of heads and FFN units") {
  const auto table = measure_layers(tiny_model()->config(), 20);
  const auto is_table = [](const std::vector<LatencyTable::Entry>& entries, int64_t all) {
    CHECK(entries.front().units == 1);
    CHECK(entries.back().units == all);
    for (const auto& entry : entries) CHECK(entry.ms > 0.0);
  };
  is_table(table.heads, 4);
  is_table(table.intermediate, 48);
  CHECK((table.per_head >= 0.0 && table.per_unit >= 0.0 && table.fixed >= 0.0));
  const auto json = latency_json(table);
  CHECK(json.at("heads").size() == table.heads.size());
  CHECK(json.at("per_unit_ms") == table.per_unit);
}

TEST_CASE("scores are drawn, a row a layer") {
  auto model = tiny_model();
  const auto importance = magnitude_scores(*model);
  const auto svg = importance_svg(importance, choose_units(importance, {.heads = 3, .intermediate_size = 20}));
  CHECK_THAT(svg, Catch::StartsWith("<svg") && Catch::EndsWith("</svg>\n"));
  const auto count = [&](const std::string& part) {
    size_t found = 0;
    for (auto at = svg.find(part); at != std::string::npos; at = svg.find(part, at + 1)) ++found;
    return found;
  };
  CHECK(count(">3 of 4<") == 3);
  CHECK(count(">20 of 48<") == 3);
  CHECK(count("<line") == 6);
  CHECK(count("<rect") == 1 + 3 * 4 + 3 * 48);
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
  const auto& like = model->config().layers.front();
  CHECK((again->config().layers == testing::blocks({{2, 3}, {1, 2}, {3, 1}}, like.attention.head_size, like)));
  const at::NoGradGuard no_grad;
  CHECK(torch::equal(again->forward(batch).logits, model->forward(batch).logits));
}

TEST_CASE("a pruned model can be trained and scored again") {
  auto model = tiny_model();
  cut_units(*model, choose_units(tiny_importance(model), {2, 20}));
  for (const auto& p : model->parameters()) CHECK(p.requires_grad());
  LabelObjective(model).loss(golden_batch(golden_tensors("model/tiny.safetensors"))).backward();
  CHECK((model->encoder->layers[0]->linear(Role::query)->weight.grad().sizes() == torch::IntArrayRef{16, 32}));
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
  CHECK_THAT(message_of<CheckpointError>([] { read_importance({{"groups", {1}}}, "x/importance.json"); }),
             Catch::Contains("x/importance.json"));
}

TEST_CASE("scoring without texts is an error") {
  auto model = tiny_model();
  CHECK_THROWS_AS(score_units(*model, [] { return std::optional<torch::Tensor>(); }), DataError);
  for (const auto& group : model->prunable_units()) CHECK_FALSE(group.mask->defined());
}

void check_scores(const Importance& found, const std::string& name, double tolerance) {
  const auto expected = golden_tensors("prune/scores.safetensors");
  REQUIRE(found.size() == 6);
  for (size_t i = 0; i < found.size(); ++i) {
    INFO(name << " of group " << i);
    check_close(found[i].scores, expected.at(fmt::format("{}.{}", name, i)), tolerance);
  }
}

TEST_CASE("every score equals PyTorch's") {
  const auto data = golden_tensors("model/tiny.safetensors");
  auto model = tiny_model();
  const OneBatch halves(golden_batch(data), 3);
  LabelObjective labels(model);
  SoftLabelObjective soft(model, data.at("loss.teacher_logits"), 2.0);
  const auto scores = [&](Objective& objective, ImportanceMethod method, bool per_text) {
    return score_units(model, objective, halves, quiet_context({}), {method, per_text});
  };
  check_scores(scores(soft, ImportanceMethod::first_order, false), "first_order.teacher", 1e-5);
  check_scores(scores(labels, ImportanceMethod::fisher, false), "fisher", 1e-5);
  check_scores(scores(labels, ImportanceMethod::first_order, true), "first_order.per_text", 1e-5);
  check_scores(scores(labels, ImportanceMethod::fisher, true), "fisher.per_text", 1e-5);
  check_scores(scores(labels, ImportanceMethod::taylor, false), "taylor", 1e-5);
  check_scores(scores(labels, ImportanceMethod::magnitude, false), "magnitude", 1e-5);
  for (const auto& group : model->prunable_units()) CHECK_FALSE(group.mask->defined());
  for (const auto& p : model->parameters()) CHECK_FALSE(p.grad().defined());
}

TEST_CASE("scores of hidden dimensions equal PyTorch's, and a narrower model has their rows and columns") {
  const auto data = golden_tensors("model/tiny.safetensors");
  const auto expected = golden_tensors("prune/hidden.safetensors");
  auto model = tiny_model();
  const OneBatch halves(golden_batch(data), 3);
  const auto scores = [&](ImportanceMethod method, bool per_text = false) {
    return hidden_scores(model, halves, quiet_context({}), method, per_text);
  };
  check_close(scores(ImportanceMethod::first_order), expected.at("first_order"), 1e-5);
  check_close(scores(ImportanceMethod::fisher), expected.at("fisher"), 1e-5);
  check_close(scores(ImportanceMethod::first_order, true), expected.at("first_order.per_text"), 1e-5);
  check_close(scores(ImportanceMethod::magnitude), expected.at("magnitude"), 1e-5);
  CHECK(torch::equal(scores(ImportanceMethod::random), scores(ImportanceMethod::random)));
  CHECK_THROWS_AS(scores(ImportanceMethod::taylor), std::invalid_argument);

  const auto kept = torch::tensor(std::vector<int64_t>{0, 3, 4, 9, 17, 30});
  auto narrow = keep_hidden(model, kept);
  CHECK(narrow->config().hidden_size == 6);
  const auto &from = *model->encoder->layers[1], &to = *narrow->encoder->layers[1];
  CHECK(torch::equal(to.linear(Role::query)->weight, from.linear(Role::query)->weight.index_select(1, kept)));
  CHECK(torch::equal(to.linear(Role::down)->weight, from.linear(Role::down)->weight.index_select(0, kept)));
  CHECK(torch::equal(to.norm(Role::mlp_norm)->bias, from.norm(Role::mlp_norm)->bias.index_select(0, kept)));
  CHECK(torch::equal(keep_hidden(model, torch::arange(32))->forward(halves.collate(halves.plan(0)[0])).logits,
                     model->forward(halves.collate(halves.plan(0)[0])).logits));
}

TEST_CASE("random scores follow from the seed") {
  auto model = tiny_model();
  const auto one = random_scores(*model, 3), again = random_scores(*model, 3), other = random_scores(*model, 4);
  REQUIRE(one.size() == 6);
  CHECK(torch::equal(one[1].scores, again[1].scores));
  CHECK_FALSE(torch::equal(one[1].scores, other[1].scores));
  CHECK_FALSE(torch::equal(one[1].scores, one[3].scores));
}

/// The least sum of squares that the columns of `design` leave of `target`.
double residual(const torch::Tensor& design, const torch::Tensor& target) {
  const auto solution = std::get<0>(torch::linalg_lstsq(design, target, std::nullopt, "gelsd"));
  return (design.mm(solution) - target).square().sum().item<double>();
}

TEST_CASE("removal costs are what least squares loses with each unit that goes") {
  torch::manual_seed(4);
  const int64_t width = GENERATE(1, 3);
  const auto units = 6;
  // Values of units that have much in common, and a constant that stays.
  const auto mixed = torch::randn({80, 9}, torch::kDouble).mm(torch::randn({9, units * width}, torch::kDouble));
  const auto values = mixed + 0.3 * torch::randn({80, units * width}, torch::kDouble);
  const auto inputs = torch::cat({values, torch::ones({80, 1}, torch::kDouble)}, 1);
  const auto weight = torch::randn({5, units * width}, torch::kDouble);
  const auto costs = removal_costs(inputs.t().mm(inputs), weight, width, 1, 1e-9);

  std::vector<int64_t> left(units);
  std::iota(left.begin(), left.end(), 0);
  const auto target = values.mm(weight.t());
  const auto without = [&](const std::vector<int64_t>& kept) {
    auto design = inputs.slice(1, units * width);
    for (const auto u : kept) design = torch::cat({design, values.slice(1, u * width, (u + 1) * width)}, 1);
    return residual(design, target);
  };
  double lost = 0.0;
  while (!left.empty()) {
    // The cheapest unit to lose, by trying each.
    double best = INFINITY;
    size_t goes = 0;
    for (size_t i = 0; i < left.size(); ++i) {
      auto rest = left;
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i));
      if (const auto error = without(rest); error < best) best = error, goes = i;
    }
    INFO("unit " << left[goes]);
    CHECK(costs[left[goes]].item<double>() == Approx(best - lost).epsilon(1e-4));
    lost = best;
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(goes));
  }
}

/// More tokens than the layers have features, so that least squares has one solution.
Batch many_texts() {
  torch::manual_seed(2);
  return text_batch(torch::randint(5, 64, {60, 12}), torch::ones({60, 12}, torch::kLong),
                    torch::zeros({60, 12}, torch::kLong), {}, torch::arange(60));
}

/// The tiny model, whose FFN units 1 and 2 of layer 1 have become the same: one can do the work of both.
Model with_twin_units() {
  const at::NoGradGuard no_grad;
  auto model = tiny_model();
  auto& layer = *model->encoder->layers[1];
  layer.linear(Role::up)->weight[2].copy_(layer.linear(Role::up)->weight[1]);
  layer.linear(Role::up)->bias[2].copy_(layer.linear(Role::up)->bias[1]);
  return model;
}

TEST_CASE("a unit that another can replace costs nothing") {
  auto model = with_twin_units();
  const auto scores = surgeon_scores(model, OneBatch(many_texts(), 16), 0, quiet_context({}));
  REQUIRE(scores.size() == 6);
  const auto& units = scores[3].scores;
  CHECK(units.slice(0, 1, 3).min().item<double>() == units.min().item<double>());
  CHECK(units.min().item<double>() < 0.01 * units.median().item<double>());
  CHECK(units.slice(0, 1, 3).max().item<double>() > 10 * units.min().item<double>());
}

TEST_CASE("scores of outputs a token do not depend on padding") {
  torch::manual_seed(1);
  const TaskHead tags{{"O", "B-X", "I-X"}, TaskType::token_classification};
  auto model = load_model(golden("model/tiny"), {.head = tags, .new_head = true}).model;
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto scores = surgeon_scores(model, OneBatch(batch), 0, quiet_context({}));
  for (const auto* name : {"input_ids", "attention_mask", "token_type_ids"}) {
    batch[name] = torch::constant_pad_nd(batch.at(name), {0, 7});
  }
  const auto padded = surgeon_scores(model, OneBatch(batch), 0, quiet_context({}));
  REQUIRE(scores.size() == 6);
  for (size_t i = 0; i < scores.size(); ++i) {
    INFO("group " << i);
    check_close(padded[i].scores / scores[i].scores, torch::ones_like(scores[i].scores), 1e-3);
  }
}

/// Random scores of `layers` layers; all different.
Importance random_importance(int64_t layers, int64_t heads, int64_t units, std::mt19937_64& generator) {
  Importance importance;
  for (int64_t i = 0; i < 2 * layers; ++i) {
    std::vector<float> scores(static_cast<size_t>(i % 2 == 0 ? heads : units));
    for (auto& score : scores) score = std::uniform_real_distribution<float>(0.0f, 1.0f)(generator);
    importance.push_back({i % 2 == 0 ? UnitKind::heads : UnitKind::intermediate, i / 2, torch::tensor(scores)});
  }
  return importance;
}

double kept_score(const Importance& importance, const std::vector<torch::Tensor>& kept) {
  double sum = 0.0;
  for (size_t i = 0; i < kept.size(); ++i) sum += importance[i].scores.index_select(0, kept[i]).sum().item<double>();
  return sum;
}

/// The largest sum of scores within the budget, by trying every set of units.
double best_by_brute_force(const Importance& importance, const std::vector<double>& costs, double budget,
                           bool one_of_each = true) {
  std::vector<std::pair<size_t, float>> units;  // group and score
  for (size_t g = 0; g < importance.size(); ++g) {
    for (int64_t i = 0; i < importance[g].scores.size(0); ++i)
      units.push_back({g, importance[g].scores[i].item<float>()});
  }
  double best = -1.0;
  for (uint64_t set = 0; set < (uint64_t{1} << units.size()); ++set) {
    double cost = 0.0, score = 0.0;
    std::vector<bool> has(importance.size());
    for (size_t i = 0; i < units.size(); ++i) {
      if ((set >> i & 1) == 0) continue;
      cost += costs[units[i].first];
      score += units[i].second;
      has[units[i].first] = true;
    }
    if (cost > budget || (one_of_each && !std::ranges::all_of(has, std::identity()))) continue;
    best = std::max(best, score);
  }
  return best;
}

TEST_CASE("texts that are calibrated on keep no graph of how they were embedded") {
  auto model = tiny_model();
  REQUIRE(model->parameters().front().requires_grad());
  for (const auto& texts : embed(model, OneBatch(many_texts(), 16), quiet_context({}))) {
    CHECK_FALSE(texts.x.requires_grad());
  }
}

TEST_CASE("units within a budget are the best that there are: every set of them was tried") {
  std::mt19937_64 generator(5);
  for (const double budget : {13.0, 17.5, 25.0, 31.0, 46.0}) {
    for (int repeat = 0; repeat < 5; ++repeat) {
      const auto importance = random_importance(2, 3, 5, generator);
      const std::vector<double> costs = {5.5, 1.0, 5.5, 1.0};
      const auto kept = choose_within(importance, costs, budget);
      double cost = 0.0;
      for (size_t g = 0; g < kept.size(); ++g) cost += costs[g] * static_cast<double>(kept[g].size(0));
      CHECK(cost <= budget);
      CHECK(kept_score(importance, kept) == Approx(best_by_brute_force(importance, costs, budget)));
    }
  }
  for (const double budget : {0.0, 5.0, 9.0, 16.5}) {
    const auto importance = random_importance(2, 3, 5, generator);
    const std::vector<double> costs = {5.5, 1.0, 5.5, 1.0};
    const auto kept = choose_within(importance, costs, budget, {.whole_blocks = true});
    CHECK(kept_score(importance, kept) == Approx(best_by_brute_force(importance, costs, budget, false)));
  }
  const auto importance = random_importance(2, 3, 5, generator);
  CHECK_THAT(message_of<ConfigError>([&] { choose_within(importance, {5.5, 1.0, 5.5, 1.0}, 12.0); }),
             Catch::Contains("27.9 %") && Catch::Contains("30.2 %"));
  const Importance none = {{.kind = UnitKind::heads, .layer = 0, .scores = torch::zeros({0})}};
  CHECK(message_of<ConfigError>([&] { choose_within(none, {1.0}, -1.0); }) ==
        "the budget is below what is there without any unit");
}

TEST_CASE("a global choice takes the best of all layers, and one of each") {
  const auto f = [](std::vector<float> v) { return torch::tensor(v); };
  const Importance importance = {{UnitKind::heads, 0, f({9, 8, 7})},
                                 {UnitKind::intermediate, 0, f({1, 2, 3, 4})},
                                 {UnitKind::heads, 1, f({1, 2, 3})},
                                 {UnitKind::intermediate, 1, f({50, 8, 7, 60})}};
  const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
  const auto kept = choose_global(importance, {.heads = 4, .intermediate_size = 4});
  CHECK(torch::equal(kept[0], index({0, 1, 2})));
  CHECK(torch::equal(kept[2], index({2})));
  CHECK(torch::equal(kept[1], index({3})));
  CHECK(torch::equal(kept[3], index({0, 1, 3})));
  const auto pairs = choose_global(importance, {.heads = std::nullopt, .intermediate_size = 7}, {.multiple = 2});
  CHECK(pairs[0].size(0) == 3);
  CHECK(torch::equal(pairs[1], index({2, 3})));
  CHECK(torch::equal(pairs[3], index({0, 1, 2, 3})));
  const auto free = choose_global(importance, {.heads = 3, .intermediate_size = 4}, {.whole_blocks = true});
  CHECK(free[2].size(0) == 0);
  CHECK(free[1].size(0) == 0);
  CHECK_THAT(message_of<ConfigError>([&] { choose_global(importance, {.heads = 1, .intermediate_size = 4}); }),
             Catch::Contains("heads: 1 to keep") && Catch::Contains("from 2 to 6"));
}

TEST_CASE("scores can be compared by their share of a layer") {
  const Importance importance = {{UnitKind::heads, 0, torch::tensor({3.0f, 4.0f})}};
  check_close(normalized(importance)[0].scores, torch::tensor({0.6f, 0.8f}), 1e-6);
}

TEST_CASE("unit costs add up to the multiply-adds that a cut saves") {
  auto model = tiny_model();
  const auto macs = [](const ModelConfig& config) { return encoder_macs(config, 12); };
  const auto costs = unit_costs(model->config(), macs);
  const auto before = macs(model->config());
  double all = 0.0;
  for (size_t g = 0; g < costs.size(); ++g) all += costs[g] * (g % 2 == 0 ? 4 : 48);
  CHECK(all == static_cast<double>(before));
  const auto importance = random_scores(*model, 1);
  const Budget budget(model, {.macs_reduction = 2.5, .multiple_of = 4}, 12);
  const auto kept = budget.choose(importance);
  cut_units(*model, kept);
  const auto reduction = static_cast<double>(before) / static_cast<double>(macs(model->config()));
  CHECK(reduction >= 2.5);
  CHECK(reduction < 2.6);
  for (const auto& layer : model->config().layers) CHECK(layer.mlp.units % 4 == 0);
}

TEST_CASE("rounds end at the budget, by way of a cubic curve, and say which units are left") {
  CHECK(cubic_share(0.0) == 0.0);
  CHECK(cubic_share(0.5) == 0.875);
  CHECK(cubic_share(1.0) == 1.0);
  const auto allocation = GENERATE(Allocation::uniform, Allocation::global);
  auto model = tiny_model();
  const auto whole = copy(model);
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), 3);
  LabelObjective objective(model);
  std::vector<int64_t> sizes;
  const Budget budget(model, {.heads = 2, .intermediate_size = 12, .allocation = allocation, .multiple_of = 4}, 12);
  const auto result = prune_in_rounds(
      model, budget, 3, [&] { return score_units(model, objective, source, quiet_context({})); },
      [&](const std::vector<torch::Tensor>&) {
        int64_t units = 0;
        for (const auto& layer : model->config().layers) units += layer.mlp.units;
        sizes.push_back(units);
      });
  REQUIRE(sizes.size() == 3);
  CHECK(sizes[0] > sizes[1]);
  CHECK(sizes[2] == 36);
  CHECK(sizes[0] == Approx(3 * (48 - 36 * (1 - 8.0 / 27))).margin(6));
  // What the rounds left is what one cut to the units that they name leaves.
  auto at_once = copy(whole);
  cut_units(*at_once, result.kept);
  CHECK(at_once->config() == model->config());
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const at::NoGradGuard no_grad;
  CHECK(torch::equal(at_once->forward(batch).logits, model->forward(batch).logits));
  CHECK_THROWS_AS(Budget(model, {.heads = 4, .intermediate_size = std::nullopt}, 12), ConfigError);
}

TEST_CASE("a round that is undone halves the steps that follow") {
  GradualSchedule schedule(4, 2);
  std::vector<double> tried;
  while (const auto next = schedule.next()) {
    tried.push_back(*next);
    *next > 0.6 ? schedule.undo() : schedule.accept();
  }
  CHECK(tried == std::vector<double>{0.25, 0.5, 0.75, 0.625, 0.5625, 0.625});
  CHECK(schedule.position() == 0.5625);

  GradualSchedule thirds(3, 0);
  for (int i = 0; i < 3; ++i) thirds.accept();
  CHECK(thirds.position() == 1.0);
  CHECK_FALSE(thirds.next().has_value());
}

/// The units that stay in make_goldens.py.
std::vector<torch::Tensor> golden_kept() {
  const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
  return {index({0, 3}),           torch::arange(0, 48, 3), index({2}),
          torch::arange(5, 45, 2), index({1, 2, 3}),        index({7, 8, 30})};
}

std::vector<torch::Tensor> all_units(Model& model) {
  std::vector<torch::Tensor> all;
  for (const auto& group : model->prunable_units()) all.push_back(torch::arange(group.count));
  return all;
}

/// The largest condition number of the systems that reconstruct() solved: `cut` is the model before, `fitted` after it.
double largest_condition(Model& cut, Model& fitted, Model& original, const BatchSource& texts, Reconstruction method,
                         double damping) {
  const at::NoGradGuard no_grad;
  auto given = blocks(cut), all = blocks(fitted), originals = blocks(original);
  auto own = embed(fitted, texts, quiet_context({})), whole = embed(original, texts, quiet_context({}));
  double largest = 1.0;
  // Of `fixed` inputs, the last, no weight is damped.
  const auto condition = [&](const std::vector<torch::Tensor>& rows, int64_t fixed) {
    const auto x = torch::cat(rows).to(torch::kDouble);
    const auto inputs = x.size(1) - fixed;
    const auto gram = x.t().mm(x);
    auto pull = torch::zeros({x.size(1)}, torch::kDouble);
    pull.slice(0, 0, inputs).fill_(gram.diagonal().slice(0, 0, inputs).mean() * damping);
    const auto values = torch::linalg_eigvalsh(gram + torch::diag(pull));
    largest = std::max(largest, (values[-1] / values[0]).item<double>());
  };
  for (size_t i = 0; i < all.size(); ++i) {
    auto& block = all[i];
    std::vector<torch::Tensor> makers, readers, units;
    for (size_t t = 0; t < own.size(); ++t) {
      makers.push_back(with_bias(block.attention ? own[t].x.index({own[t].tokens}) : own[t].rows(own[t].x, block)));
      const auto sum = originals[i].sum(whole[t].x, whole[t].context);
      const auto weight = own[t].rows(originals[i].sensitivity(sum), block);
      const auto values = own[t].rows(block.units(own[t].x, own[t].context), block);
      readers.push_back(with_bias(values) * weight);
      const auto parts = [&](const torch::Tensor& x) { return x.unflatten(1, {-1, block.width()}); };
      units.push_back(
          torch::einsum("ruw,ouw->rou", {parts(values * weight), parts(given[i].linear()->weight)}).flatten(0, 1));
      whole[t].x = originals[i].next(sum);
      own[t].x = block.next(block.sum(own[t].x, own[t].context));
    }
    if (method == Reconstruction::layerwise) condition(makers, 1);
    method == Reconstruction::rescale ? condition(units, 0) : condition(readers, 1);
  }
  return largest;
}

TEST_CASE("reconstructed weights equal least squares by PyTorch") {
  const auto method = GENERATE(Reconstruction::rescale, Reconstruction::least_squares, Reconstruction::layerwise);
  const auto dtype = GENERATE(torch::kDouble, torch::kFloat);
  const auto expected = golden_tensors("prune/reconstruct.safetensors");
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const OneBatch texts(batch, 4);
  auto original = tiny_model(), model = tiny_model();
  for (auto* each : {&original, &model}) (*each)->to(dtype);
  cut_units(*model, golden_kept());
  auto cut = copy(model);
  cut->to(dtype);
  reconstruct(model, original, golden_kept(), texts, method, 1e-2, quiet_context({}));
  // The goldens were computed in float64, and written as float32. What float32 makes of the layers before moves a
  // solution by as much as its system's condition number says, on any processor.
  double tolerance = 2e-6;
  if (dtype == torch::kFloat) {
    const double condition = largest_condition(cut, model, original, texts, method, 1e-2);
    CAPTURE(condition);
    tolerance = condition * std::numeric_limits<float>::epsilon();
    CHECK(tolerance < 5e-3);
  }
  const auto close = [&](const torch::Tensor& found, const torch::Tensor& wanted) {
    check_close(found, wanted, tolerance * std::max(1.0, wanted.abs().max().item<double>()));
  };
  for (size_t i = 0; i < 3; ++i) {
    const auto& layer = model->encoder->layers[i];
    std::vector<std::pair<std::string, Linear>> fitted = {{"heads", layer->linear(Role::attention_output)},
                                                          {"intermediate", layer->linear(Role::down)}};
    if (method == Reconstruction::layerwise) {
      fitted.insert(fitted.end(), {{"query", layer->linear(Role::query)},
                                   {"value", layer->linear(Role::value)},
                                   {"made", layer->linear(Role::up)}});
    }
    for (const auto& [name, linear] : fitted) {
      INFO(name << " of layer " << i);
      const auto golden = [&](const char* part) {
        return expected.at(fmt::format("{}.{}.{}.{}", enum_name(method), name, i, part));
      };
      close(linear->weight, golden("weight"));
      close(linear->bias, golden("bias"));
    }
  }
  const at::NoGradGuard no_grad;
  close(model->forward(batch).logits, expected.at(fmt::format("{}.logits", enum_name(method))));
}

TEST_CASE("a model that lost nothing is reconstructed as it was") {
  const auto method =
      GENERATE(Reconstruction::none, Reconstruction::rescale, Reconstruction::least_squares, Reconstruction::layerwise);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto original = tiny_model(), model = tiny_model();
  reconstruct(model, original, all_units(model), OneBatch(batch), method, 1e-3, quiet_context({}));
  const at::NoGradGuard no_grad;
  check_close(model->forward(batch).logits, original->forward(batch).logits, 1e-4);
}

TEST_CASE("a model of any family is reconstructed as it was, and scored by what reconstruction can't make good") {
  const auto name = GENERATE(from_range(family_names()));
  INFO(name);
  const auto batch = golden_batch(golden_tensors("model/families/" + name + ".safetensors"));
  const auto load = [&] { return load_model(golden("model/families/" + name)).model; };
  auto original = load(), model = load();
  const auto layerwise = [&] {
    reconstruct(model, original, all_units(model), OneBatch(batch), Reconstruction::layerwise, 1e-3, quiet_context({}));
  };
  if (!model->config().shared_layers.empty()) {
    CHECK_THROWS_AS(layerwise(), UnsupportedError);
    CHECK_THROWS_AS(surgeon_scores(model, OneBatch(batch), 0, quiet_context({})), UnsupportedError);
    return;
  }
  const auto groups = model->prunable_units();
  const auto scores = surgeon_scores(model, OneBatch(batch), 0, quiet_context({}));
  REQUIRE(scores.size() == groups.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    CHECK(scores[i].scores.size(0) == groups[i].count);
    CHECK(scores[i].scores.min().item<double>() >= 0.0);
    CHECK(scores[i].scores.max().item<double>() > 0.0);
  }
  layerwise();
  const at::NoGradGuard no_grad;
  check_close(model->forward(batch).logits, original->forward(batch).logits, 1e-3);
}

TEST_CASE("a layer that loses what others can replace is made good") {
  auto original = with_twin_units();
  auto model = copy(original);
  std::vector<torch::Tensor> kept;
  for (const auto& group : model->prunable_units()) {
    kept.push_back(torch::arange(group.count));
    if (group.layer != 1 || group.kind != UnitKind::intermediate) continue;
    kept.back() = torch::cat({torch::arange(2), torch::arange(3, group.count)});
  }
  cut_units(*model, kept);
  const auto batch = many_texts();
  const at::NoGradGuard no_grad;
  const auto whole = original->forward(batch).logits;
  CHECK_FALSE(torch::allclose(model->forward(batch).logits, whole, 1e-3, 1e-3));
  reconstruct(model, original, kept, OneBatch(batch), Reconstruction::least_squares, 1e-6, quiet_context({}));
  check_close(model->forward(batch).logits, whole, 1e-3);
}

TEST_CASE("a block that went whole leaves what its outputs were on average") {
  const auto method = GENERATE(Reconstruction::rescale, Reconstruction::least_squares, Reconstruction::layerwise);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto original = tiny_model(), model = tiny_model();
  auto kept = all_units(model);
  kept[2] = kept[2].slice(0, 0, 0);
  kept[3] = kept[3].slice(0, 0, 0);
  cut_units(*model, kept);
  const auto& layer = model->encoder->layers[1];
  const auto as_cut = layer->linear(Role::attention_output)->bias.clone();
  reconstruct(model, original, kept, OneBatch(batch), method, 1e-3, quiet_context({}));
  CHECK_FALSE(torch::equal(layer->linear(Role::attention_output)->bias, as_cut));
  const auto error = [&] {
    const at::NoGradGuard no_grad;
    return (model->forward(batch).logits - original->forward(batch).logits).norm().item<double>();
  };
  const auto fitted = error();
  layer->linear(Role::attention_output)->bias.set_data(as_cut);
  CHECK(fitted < error());
  const auto scores = surgeon_scores(model, OneBatch(batch), 0, quiet_context({}));
  CHECK(scores[2].scores.numel() == 0);
  CHECK(scores[4].scores.isfinite().all().item<bool>());
}

TEST_CASE("layers that lost all heads or units are scored by every method, and reconstructed in every way") {
  const auto importance_method = GENERATE(from_range(enum_names(ImportanceMethod{}))).first;
  const auto reconstruction = GENERATE(from_range(enum_names(Reconstruction{}))).first;
  const bool per_text = GENERATE(false, true);
  if (of_single_weights(importance_method)) return;
  if (per_text && !by_masks(importance_method)) return;
  INFO(enum_name(importance_method) << " " << enum_name(reconstruction) << (per_text ? " per text" : ""));
  const OneBatch texts(golden_batch(golden_tensors("model/tiny.safetensors")), 3);
  auto model = tiny_model();
  auto kept = all_units(model);
  kept[0] = kept[0].slice(0, 0, 0);  // no heads in the first layer,
  kept[3] = kept[3].slice(0, 0, 0);  // no units in the second,
  kept[4] = kept[4].slice(0, 0, 0);  // neither in the last
  kept[5] = kept[5].slice(0, 0, 0);
  cut_units(*model, kept);
  const auto original = copy(model);
  LabelObjective objective(model);
  const Budget budget(model, {.macs_reduction = 1.5, .whole_blocks = true}, 8);
  const auto result = prune_in_rounds(
      model, budget, 2,
      [&] { return score_units(model, objective, texts, quiet_context({}), {importance_method, per_text}); },
      [&](const auto& units) {
        auto whole = original;
        reconstruct(model, whole, units, texts, reconstruction, 1e-3, quiet_context({}));
      });
  REQUIRE(result.importance.size() == 6);
  for (const auto gone : {0, 3, 4, 5}) {
    CHECK(result.importance[gone].scores.numel() == 0);
    CHECK(result.kept[gone].numel() == 0);
  }
  const auto& config = model->config();
  CHECK(1.5 * static_cast<double>(encoder_macs(config, 8)) <= static_cast<double>(encoder_macs(original->config(), 8)));
  const at::NoGradGuard no_grad;
  CHECK(model->forward(texts.collate({{0, 1}})).logits.isfinite().all().item<bool>());
  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  CHECK((load_model(folder.path()).model->config().layers == config.layers));
  CHECK_FALSE(importance_svg(result.importance, result.kept).empty());
}

TEST_CASE("hidden dimensions are scored and cut where layers lost all heads or units") {
  const auto method = GENERATE(ImportanceMethod::first_order, ImportanceMethod::fisher, ImportanceMethod::magnitude,
                               ImportanceMethod::random);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto model = tiny_model();
  auto kept = all_units(model);
  for (auto& units : kept) units = units.slice(0, 0, 0);
  cut_units(*model, kept);
  const auto scores = hidden_scores(model, OneBatch(batch), quiet_context({}), method, false);
  CHECK(scores.isfinite().all().item<bool>());
  auto narrow = keep_hidden(model, best_units(scores, 20));
  const TemporaryFolder folder;
  save_model(narrow, *load_tokenizer(golden("model/tiny")), folder.path());
  auto again = load_model(folder.path()).model;
  CHECK((again->config().layers == narrow->config().layers));
  const at::NoGradGuard no_grad;
  CHECK(torch::equal(again->forward(batch).logits, narrow->forward(batch).logits));
}

TEST_CASE("units that are 0 on all texts are reconstructed as they were") {
  const auto method = GENERATE(Reconstruction::rescale, Reconstruction::least_squares, Reconstruction::layerwise);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto original = tiny_model();
  {
    const at::NoGradGuard no_grad;
    for (const auto& linear :
         {original->encoder->layers[1]->linear(Role::up), original->encoder->layers[1]->linear(Role::value)}) {
      linear->weight.zero_();
      linear->bias.zero_();
    }
  }
  auto model = copy(original);
  reconstruct(model, original, all_units(model), OneBatch(batch), method, 1e-3, quiet_context({}));
  const at::NoGradGuard no_grad;
  check_close(model->forward(batch).logits, original->forward(batch).logits, 1e-4);
  const auto scores = surgeon_scores(model, OneBatch(batch), 0, quiet_context({}));
  CHECK(scores[3].scores.isfinite().all().item<bool>());
}

TEST_CASE("scores and budgets that are not finite are an error") {
  auto model = tiny_model();
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto nan = std::nan("");
  {
    const at::NoGradGuard no_grad;
    model->encoder->layers[1]->linear(Role::down)->weight[0][0] = nan;
  }
  LabelObjective objective(model);
  const auto message = [&](ImportanceMethod method, bool per_text) {
    return message_of<DataError>(
        [&] { score_units(model, objective, OneBatch(batch), quiet_context({}), {method, per_text}); });
  };
  for (const auto& [method, name] : enum_names(ImportanceMethod{})) {
    if (method == ImportanceMethod::random || of_single_weights(method)) continue;
    INFO(name);
    CHECK_THAT(message(method, false), Catch::Contains("expected finite numbers"));
    if (by_masks(method)) CHECK_THAT(message(method, true), Catch::Contains("expected finite numbers"));
    if (method == ImportanceMethod::surgeon || method == ImportanceMethod::taylor) continue;
    CHECK_THAT(message_of<DataError>([&] { hidden_scores(model, OneBatch(batch), quiet_context({}), method, false); }),
               Catch::Contains("the scores of the hidden dimensions: found nan at ["));
  }
  auto original = tiny_model();
  CHECK_THAT(message_of<DataError>([&] {
               reconstruct(model, original, all_units(model), OneBatch(batch), Reconstruction::least_squares, 1e-3,
                           quiet_context({}));
             }),
             Catch::Contains("attention of layer 2: found NaN or infinity"));

  const Importance odd = {{UnitKind::heads, 0, torch::tensor({0.3f, 0.1f})},
                          {UnitKind::intermediate, 3, torch::tensor({1.0f, std::numeric_limits<float>::infinity()})}};
  const std::string told = "importance: the scores of intermediate of layer 3: found inf at [1]";
  CHECK_THAT(message_of<DataError>([&] { keep_best(odd, {1, 1}); }), Catch::Contains(told));
  CHECK_THAT(message_of<DataError>([&] { choose_units(odd, {.heads = 1}); }), Catch::Contains(told));
  CHECK_THAT(message_of<DataError>([&] { choose_global(odd, {.heads = 1}, {}); }), Catch::Contains(told));
  CHECK_THAT(message_of<DataError>([&] { choose_within(odd, {1, 1}, 3, {}); }), Catch::Contains(told));
  const Importance sound = {{UnitKind::heads, 0, torch::tensor({0.3f, 0.1f})}};
  CHECK_THROWS_AS(choose_within(sound, {1}, nan, {}), ConfigError);
}

TEST_CASE("reconstruction says what it can't do") {
  auto model = tiny_model(), original = tiny_model();
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  model->config().shared_layers = {0, 0, 0};
  CHECK_THROWS_AS(
      reconstruct(model, original, all_units(model), OneBatch(batch), Reconstruction::rescale, 1e-3, quiet_context({})),
      UnsupportedError);
}

TEST_CASE("settings that do not fit are refused") {
  const auto problem = [](PruneConfig config) { return message_of<ConfigError>([&] { check(config); }); };
  CHECK_THAT(problem({.budget = {.heads = 2, .macs_reduction = 2.0}}), Catch::Contains("more than one budget"));
  CHECK_THAT(problem({.budget = {.intermediate_size = 30, .multiple_of = 8}}), Catch::Contains("multiple of"));
  CHECK_THAT(problem({.budget = {.heads = 2, .whole_blocks = true}}), Catch::Contains("allocation: global"));
  CHECK_THAT(problem({.score = {.importance = ImportanceMethod::surgeon}, .budget = {.hidden_size = 16}}),
             Catch::Contains("no scores of hidden dimensions"));
  CHECK_THAT(problem({.score = {.labels = ScoreLabels::teacher}, .budget = {.heads = 2}}),
             Catch::Contains("teacher: found nothing"));
  CHECK_THAT(
      problem(
          {.of = {"a"}, .score = {.labels = ScoreLabels::teacher, .teacher = Reference{"a"}}, .budget = {.heads = 2}}),
      Catch::Contains("gradients are 0"));
  CHECK_THAT(problem({.score = {.importance = ImportanceMethod::taylor, .per_text = true}, .budget = {.heads = 2}}),
             Catch::Contains("per_text"));
  CHECK_THAT(problem({.score = {.importance = ImportanceMethod::surgeon,
                                .labels = ScoreLabels::teacher,
                                .teacher = Reference{"b"}},
                      .budget = {.heads = 2}}),
             Catch::Contains("no use for labels"));
}

}  // namespace
}  // namespace compression::prune
