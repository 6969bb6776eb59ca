#include "tests/support.h"

#include "compress/base/error.h"
#include "quantize/mixed.h"

namespace compression::quantize {
namespace {

using namespace testing;

/// What a layer of that weight keeps in int8: row i is about values[i] * scale[i].
struct Int8Rows {
  torch::Tensor values, scale;
};
Int8Rows int8_rows(const torch::Tensor& weight) {
  const at::NoGradGuard no_grad;
  Linear linear(weight.size(1), weight.size(0));
  linear->weight.copy_(weight);
  linear->store(WeightFormat::int8);
  return {linear->weight, linear->part("weight_scale")};
}

TEST_CASE("each row is quantized by its own largest magnitude") {
  const auto rows = int8_rows(torch::tensor({{0.5f, -1.27f, 0.01f}, {100.0f, 127.0f, -3.4f}, {0.0f, 0.0f, 0.0f}}));
  CHECK(torch::equal(rows.values, torch::tensor({{50, -127, 1}, {100, 127, -3}, {0, 0, 0}}, torch::kChar)));
  check_close(rows.scale, torch::tensor({{0.01f}, {1.0f}, {1.0f}}), 1e-8);
}

TEST_CASE("an int8 weight is off by at most half a step") {
  at::manual_seed(1);
  const auto weight = torch::randn({40, 30}) * torch::rand({40, 1}) * 10;
  const auto rows = int8_rows(weight);
  CHECK(((rows.values * rows.scale - weight).abs() <= rows.scale * 0.5001).all().item<bool>());
}

TEST_CASE("the int8 operator computes with the weights that are stored") {
  at::manual_seed(2);
  Linear linear(64, 24);
  const at::NoGradGuard no_grad;
  linear->weight.normal_();
  linear->bias.normal_();
  const auto rows = int8_rows(linear->weight);
  const auto x = torch::randn({5, 7, 64}) * torch::rand({5, 7, 1}) * 20;
  const auto exact = torch::linear(x, rows.values * rows.scale, linear->bias);
  double error[2];
  for (const auto scheme : {ActivationScheme::per_tensor, ActivationScheme::per_token}) {
    Linear quantized(64, 24);
    quantized->bias.copy_(linear->bias);
    quantized->store(WeightFormat::int8, {rows.values, rows.scale});
    quantized->quantize_inputs(scheme);
    const auto relative = (quantized->forward(x) - exact).norm() / exact.norm();
    error[static_cast<int>(scheme)] = relative.item<double>();
  }
  CHECK(error[0] < 0.03);
  CHECK(error[1] < 0.02);
  CHECK(error[1] < error[0]);  // tokens of different size: one scale each is better
}

TEST_CASE("int8 layers multiply exact integers of eight bits, whatever their scales are of") {
  const auto scheme =
      GENERATE(ActivationScheme::per_tensor, ActivationScheme::per_token, ActivationScheme::static_per_tensor);
  at::manual_seed(4);
  Linear linear(67, 21);
  const at::NoGradGuard no_grad;
  linear->weight.normal_();
  linear->bias.normal_();
  const auto rows = int8_rows(linear->weight);
  constexpr float fixed = 0.03f;
  linear->store(WeightFormat::int8);
  linear->quantize_inputs(scheme, torch::full({1}, fixed));
  const auto x = torch::randn({130, 67}) * torch::logspace(-2, 1, 130).unsqueeze(1);
  torch::Tensor scale;
  if (scheme == ActivationScheme::per_token) scale = x.abs().amax(1, true) / 127.0f;
  if (scheme == ActivationScheme::per_tensor) scale = (x.abs().max() / 127.0f).expand({130, 1});
  if (scheme == ActivationScheme::static_per_tensor) scale = torch::full({130, 1}, fixed);
  const auto inverse =
      scheme == ActivationScheme::per_token ? 127.0f / x.abs().amax(1, true) : torch::ones_like(scale) / scale;
  const auto q = torch::round((x * inverse).clamp(-128, 127)).to(torch::kDouble);
  const auto expected = q.mm(rows.values.to(torch::kDouble).t()) * scale * rows.scale.squeeze(1) + linear->bias;
  const auto found = linear->forward(x.view({2, 65, 67})).view({130, 21});
  CHECK(((found - expected).norm() / expected.norm()).item<double>() < 1e-6);
  linear->bias.add_(1.0);  // seen at once
  check_close(linear->forward(x) - found, torch::ones_like(found), 1e-4);
}

TEST_CASE("LibTorch's operators, which portable files have, are there when they are asked for") {
  auto model = tiny_model();
  quantize(model, {});
  auto portable = copy(model);
  portable->set_products(Products::libtorch);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const at::NoGradGuard no_grad;
  const auto ours = model->forward(batch).logits, theirs = portable->forward(batch).logits;
  CHECK_FALSE(torch::equal(ours, theirs));
  CHECK(((ours - theirs).norm() / ours.norm()).item<double>() < 0.05);
  CHECK(torch::equal(copy(portable)->forward(batch).logits, theirs));
}

TEST_CASE(
    "weights in fewer bits are computed as the fused runtime does, with every head, from the tensors as they are") {
  const auto format = GENERATE(WeightFormat::int8, WeightFormat::float16, WeightFormat::bfloat16);
  auto exact = tiny_model();
  auto model = copy(exact);
  quantize(model, {.linear = format, .embeddings = format});
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const double near = format == WeightFormat::int8 ? 0.2 : 0.02;
  const at::NoGradGuard no_grad;
  const auto error = [&] {
    const auto expected = exact->forward(batch).logits;
    return ((model->forward(batch).logits - expected).norm() / expected.norm()).item<double>();
  };
  CHECK(error() < near);
  // Hidden states are asked for of LibTorch's operators: the same model.
  const auto captured = model->forward(batch, {.hidden_states = true}).logits;
  CHECK(((model->forward(batch).logits - captured).norm() / captured.norm()).item<double>() < near / 2);
  // What changes in place is seen, and what takes a tensor's place.
  for (auto* each : {&exact, &model}) (*each)->encoder->layers[1]->norm(Role::mlp_norm)->bias.mul_(3.0);
  CHECK(error() < near);
  for (auto* each : {&exact, &model}) {
    auto norm = (*each)->encoder->layers[2]->norm(Role::mlp_norm);
    norm->weight.set_data(norm->weight * 2.0);
  }
  CHECK(error() < near);
  batch["attention_mask"] = torch::Tensor();
  batch["token_type_ids"] = torch::Tensor();
  CHECK(error() < near);
  CHECK_THROWS_AS(model->forward(text_batch(torch::full({1, 41}, 7, torch::kLong))), UnsupportedError);
}

TEST_CASE("a model of fewer bits is the same whether it was made in inference mode or not") {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto logits = [&] {
    auto model = tiny_model();
    quantize(model, {});
    auto first = model->forward(batch).logits;
    model->encoder->layers[0]->linear(Role::down)->bias.add_(0.5);
    return std::pair(first.clone(), model->forward(batch).logits.clone());
  };
  std::pair<torch::Tensor, torch::Tensor> inside, outside;
  {
    const c10::InferenceMode inference;
    inside = logits();
  }
  {
    const at::NoGradGuard no_grad;
    outside = logits();
  }
  CHECK(torch::equal(inside.first, outside.first));
  CHECK(torch::equal(inside.second, outside.second));
  CHECK_FALSE(torch::equal(inside.first, inside.second));
}

TEST_CASE("weights that are asked for in float32 stay as they are") {
  auto model = tiny_model();
  const auto exact = copy(model);
  quantize(model, {.linear = WeightFormat::float32, .embeddings = WeightFormat::int8});
  CHECK(model->config().linear_format == WeightFormat::float32);
  CHECK(torch::equal(model->encoder->layers[0]->linear(Role::query)->weight,
                     exact->encoder->layers[0]->linear(Role::query)->weight));
  CHECK(model->encoder->layers[0]->linear(Role::query)->weight.scalar_type() == torch::kFloat);
  CHECK(model->encoder->embeddings->word_embeddings->weight.scalar_type() == torch::kChar);
  // Parts of another format are no int8.
  CHECK_THROWS_WITH(
      model->encoder->layers[0]
          ->linear(Role::query)
          ->store(WeightFormat::int8, {exact->encoder->layers[0]->linear(Role::query)->weight, torch::ones({8, 1})}),
      Catch::Contains("weight: found Float"));
}

TEST_CASE("with one scale a token, a token's result does not depend on the other tokens") {
  at::manual_seed(3);
  Linear linear(64, 24);
  const at::NoGradGuard no_grad;
  linear->weight.normal_();
  linear->bias.zero_();
  linear->store(WeightFormat::int8);
  const auto x = torch::randn({9, 64}).abs() * torch::logspace(-3, 3, 9).unsqueeze(1);
  const auto together = linear->forward(x);
  for (int64_t i = 0; i < 9; ++i)
    CHECK(torch::equal(linear->forward(x.slice(0, i, i + 1)), together.slice(0, i, i + 1)));
}

TEST_CASE("a row of zeros and a single token go through the int8 operator") {
  Linear linear(8, 3);
  const at::NoGradGuard no_grad;
  linear->weight.fill_(0.5);
  linear->bias.fill_(1.0);
  linear->store(WeightFormat::int8);
  check_close(linear->forward(torch::zeros({2, 8})), torch::ones({2, 3}), 1e-6);
  CHECK((linear->forward(torch::ones({1, 1, 8})).sizes() == torch::IntArrayRef{1, 1, 3}));
}

TEST_CASE("every scheme keeps the logits near, makes the file small, and reloads with equal logits") {
  struct Case {
    Scheme scheme;
    WeightFormat embeddings;
    ActivationScheme activations;
    double tolerance;
  };
  const auto c = GENERATE(Case{Scheme::int8_dynamic, WeightFormat::int8, ActivationScheme::per_token, 0.35},
                          Case{Scheme::int8_dynamic, WeightFormat::float32, ActivationScheme::per_tensor, 0.5},
                          Case{Scheme::int8_dynamic, WeightFormat::float16, ActivationScheme::per_token, 0.35},
                          Case{Scheme::fp16, WeightFormat::float16, ActivationScheme::per_token, 0.01},
                          Case{Scheme::bf16, WeightFormat::bfloat16, ActivationScheme::per_token, 0.1});
  const auto expected = golden_tensors("model/tiny.safetensors");
  const auto batch = golden_batch(expected);
  auto model = tiny_model();
  quantize(model, {format_of(c.scheme), c.embeddings, c.activations});
  const at::NoGradGuard no_grad;
  const auto logits = model->forward(batch).logits;
  check_close(logits, expected.at("logits"), c.tolerance);
  CHECK_FALSE(torch::equal(logits, expected.at("logits")));

  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  auto again = load_model(folder.path()).model;
  CHECK(again->config().linear_format == format_of(c.scheme));
  CHECK(again->config().embedding_format == c.embeddings);
  CHECK(torch::equal(again->forward(batch).logits, logits));
  const auto full = std::filesystem::file_size(golden("model/tiny/model.safetensors"));
  CHECK(std::filesystem::file_size(folder / "model.safetensors") <
        (c.scheme == Scheme::int8_dynamic ? 0.6 : 0.7) * static_cast<double>(full));

  const auto file = SafetensorsFile::open(folder / "model.safetensors");
  const auto& weight = file.tensors().at("bert.encoder.layer.0.attention.self.query.weight");
  if (c.scheme == Scheme::int8_dynamic) {
    CHECK(weight.dtype == DType::int8);
    CHECK((file.tensors().at("bert.encoder.layer.0.attention.self.query.weight_scale").shape ==
           std::vector<int64_t>{32, 1}));
  }
  CHECK_THROWS_AS(quantize(model, {format_of(c.scheme), c.embeddings, c.activations}), UnsupportedError);
}

TEST_CASE("a weight that 16 bits can't hold is told with what holds it, and nothing is changed") {
  const auto refusal = [](double value, bool of_table, Scheme scheme, WeightFormat embeddings) {
    auto model = tiny_model();
    const at::NoGradGuard no_grad;
    auto& weight = of_table ? model->encoder->embeddings->word_embeddings->weight
                            : model->encoder->layers[1]->linear(Role::down)->weight;
    weight[3][5] = value;
    const auto message = message_of<UnsupportedError>(
        [&] { quantize(model, {format_of(scheme), embeddings, ActivationScheme::per_token}); });
    CHECK(model->config().linear_format == WeightFormat::float32);
    CHECK(weight.scalar_type() == torch::kFloat);
    return message;
  };
  CHECK(refusal(1e5, false, Scheme::fp16, WeightFormat::float16) ==
        "bert.encoder.layer.1.output.dense.weight: found a weight of 100000, which fp16 does not hold (inf at [3, 5]): "
        "it holds numbers up to 65504; supported for it: bf16, int8, fp32");
  CHECK_THAT(refusal(-65520, true, Scheme::fp16, WeightFormat::float16),
             Catch::Contains("bert.embeddings.word_embeddings.weight: found a weight of 65520") &&
                 Catch::Contains("-inf at [3, 5]"));
  CHECK_THAT(refusal(1e5, true, Scheme::int8_dynamic, WeightFormat::float16), Catch::Contains("word_embeddings"));
  CHECK_THAT(refusal(3.4e38, false, Scheme::bf16, WeightFormat::float32), Catch::Contains("bf16 does not hold"));
  // The largest that rounds to a number of the format.
  for (const auto& [value, scheme] : {std::pair(65519.0, Scheme::fp16), std::pair(1e5, Scheme::bf16)}) {
    auto model = tiny_model();
    const at::NoGradGuard no_grad;
    model->encoder->layers[1]->linear(Role::down)->weight[3][5] = value;
    CHECK_NOTHROW(quantize(model, {format_of(scheme), format_of(scheme), ActivationScheme::per_token}));
  }
}

TEST_CASE("an int8 model is not pruned") {
  auto model = tiny_model();
  quantize(model, {WeightFormat::int8, WeightFormat::int8, ActivationScheme::per_token});
  CHECK_THROWS_AS(model->prunable_units(), UnsupportedError);
}

const std::string kFirst = "bert.encoder.layer.0.output.dense", kLast = "bert.encoder.layer.2.intermediate.dense";

/// Judges a model by which of its layers are int8: by 4, 2 and 0.1 points a layer.
Evaluation made_up(Model& model) {
  double value = 0.9;
  for (const auto& [name, linear] : model->named_linears()) {
    if (linear->format() == WeightFormat::int8) value -= name == kFirst ? 0.04 : name == kLast ? 0.02 : 0.001;
  }
  return {.values = {{Metric::accuracy, value}}, .total = 100};
}

TEST_CASE("the names of a model's linear layers follow from its config") {
  for (const auto* kind : {"model/families", "model/heads"}) {
    for (const auto& entry : std::filesystem::directory_iterator(golden(kind))) {
      if (!entry.is_directory()) continue;
      INFO(entry.path().filename().string());
      auto model = load_model(entry.path()).model;
      std::vector<std::string> names;
      for (const auto& [name, linear] : model->named_linears()) names.push_back(name);
      CHECK(layer_names(model->config()) == names);
    }
  }
}

TEST_CASE("names of layers that a model has not are no layers to leave in fp32") {
  auto model = tiny_model();
  CHECK_THROWS_WITH(quantize(model, {.unquantized = {kFirst, "bert.encoder.layer.9.output.dense"}}),
                    "unquantized: found bert.encoder.layer.9.output.dense, which no linear layer is called");
  CHECK(model->config().linear_format == WeightFormat::float32);
}

TEST_CASE("layers that stay float32 are written, named and read again") {
  auto model = tiny_model();
  CHECK(matching_layers(model, {"*.0.output.dense", "bert.encoder.layer.2.inter*"}) ==
        std::vector<std::string>{kFirst, kLast});
  CHECK_THROWS_WITH(matching_layers(model, {"*.outputs.dense"}),
                    Catch::Contains("ignore: found \"*.outputs.dense\", which no linear layer matches"));
  quantize(model, {.unquantized = {kFirst, kLast}});
  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  auto again = load_model(folder.path()).model;
  for (auto& [name, linear] : again->named_linears()) {
    CHECK(linear->format() == (name == kFirst || name == kLast ? WeightFormat::float32 : WeightFormat::int8));
  }
  const at::NoGradGuard no_grad;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  CHECK(torch::equal(again->forward(batch).logits, model->forward(batch).logits));
}

TEST_CASE("sensitivity lists each layer alone, the worst first") {
  auto model = tiny_model();
  const auto table = measure_sensitivity(model, {}, made_up);
  REQUIRE(table.size() == model->linears().size());
  CHECK(table[0].layer == kFirst);
  CHECK(table[0].evaluation.value() == Approx(0.86));
  CHECK(table[1].layer == kLast);
  CHECK(table[1].bytes_saved == 3 * model->encoder->layers[2]->linear(Role::up)->weight.numel());
}

TEST_CASE("a bound on what may get worse holds for metrics of which less is better too") {
  auto model = tiny_model();
  const auto metric = GENERATE(Metric::mse, Metric::perplexity);
  const auto layers = static_cast<double>(model->linears().size());
  const auto rising = [&](Model& candidate) {  // by as much as the made-up accuracy falls
    return Evaluation{.metric = metric, .values = {{metric, 3.0 - made_up(candidate).value()}}, .total = 1000};
  };
  const auto kept = [&](double max_rise, const Evaluate& evaluate) {
    return quantize_within(model, {}, max_rise, evaluate).model->config().unquantized;
  };
  CHECK(kept(0.2, rising).empty());
  CHECK(kept(0.021 + 0.001 * layers, rising) == std::vector<std::string>{kFirst});
  CHECK(kept(0.0, rising).size() == model->linears().size());
  CHECK(measure_sensitivity(model, {}, rising)[0].layer == kFirst);
  const auto falling = [&](Model& candidate) {  // int8 is better
    return Evaluation{.metric = metric, .values = {{metric, made_up(candidate).value()}}, .total = 1000};
  };
  CHECK(kept(0.0, falling).empty());
}

TEST_CASE("corrected biases stay where the bound holds, or where they do no harm, whichever way the metric counts") {
  const auto [metric, sign] = GENERATE(std::pair(Metric::accuracy, 1.0), std::pair(Metric::mse, -1.0));
  const auto of = [&, metric = metric, sign = sign](double quality) {
    return Evaluation{.metric = metric, .values = {{metric, 2.0 + sign * quality}}, .total = 1};
  };
  CHECK(bound_holds(of(0.50), of(0.60), of(0.51), 0.02));        // within the bound
  CHECK_FALSE(bound_holds(of(0.40), of(0.60), of(0.51), 0.02));  // neither
  CHECK(bound_holds(of(0.40), of(0.39), of(0.51), 0.02));        // better than without
  CHECK(bound_holds(of(0.40), of(0.40), of(0.51), 0.02));
}

TEST_CASE("as few layers as the bound takes stay float32") {
  auto model = tiny_model();
  const auto layers = static_cast<double>(model->linears().size());
  const auto kept = [&](double max_drop) {
    auto result = quantize_within(model, {}, max_drop, made_up);
    CHECK(made_up(result.model).value() >= 0.9 - max_drop - 1e-9);
    CHECK_FALSE(result.trials.empty());
    return result.model->config().unquantized;
  };
  CHECK(kept(0.2).empty());
  CHECK(kept(0.021 + 0.001 * layers) == std::vector<std::string>{kFirst});
  CHECK(kept(0.001 * layers) == std::vector<std::string>{kFirst, kLast});
  CHECK(kept(0.0).size() == model->linears().size());
}

}  // namespace
}  // namespace compression::quantize
