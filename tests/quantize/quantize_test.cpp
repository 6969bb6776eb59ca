#include "tests/support.h"

#include "compress/workflow/error.h"
#include "quantize/mixed.h"

namespace compression::quantize {
namespace {

using namespace testing;

TEST_CASE("each row is quantized by its own largest magnitude") {
  const auto rows = quantize_rows(torch::tensor({{0.5f, -1.27f, 0.01f}, {100.0f, 127.0f, -3.4f}, {0.0f, 0.0f, 0.0f}}));
  CHECK(torch::equal(rows.values, torch::tensor({{50, -127, 1}, {100, 127, -3}, {0, 0, 0}}, torch::kChar)));
  check_close(rows.scale, torch::tensor({{0.01f}, {1.0f}, {1.0f}}), 1e-8);
}

TEST_CASE("an int8 weight is off by at most half a step") {
  at::manual_seed(1);
  const auto weight = torch::randn({40, 30}) * torch::rand({40, 1}) * 10;
  const auto rows = quantize_rows(weight);
  CHECK(((rows.values * rows.scale - weight).abs() <= rows.scale * 0.5001).all().item<bool>());
}

TEST_CASE("the int8 operator computes with the weights that are stored") {
  at::manual_seed(2);
  Linear linear(64, 24);
  const at::NoGradGuard no_grad;
  linear->weight.normal_();
  linear->bias.normal_();
  const auto rows = quantize_rows(linear->weight);
  const auto x = torch::randn({5, 7, 64}) * torch::rand({5, 7, 1}) * 20;
  const auto exact = torch::linear(x, rows.values * rows.scale, linear->bias);
  double error[2];
  for (const auto scheme : {ActivationScheme::per_tensor, ActivationScheme::per_token}) {
    Linear quantized(64, 24);
    quantized->bias.copy_(linear->bias);
    quantized->store_int8(rows.values, rows.scale, scheme);
    const auto relative = (quantized->forward(x) - exact).norm() / exact.norm();
    error[static_cast<int>(scheme)] = relative.item<double>();
  }
  CHECK(error[0] < 0.03);
  CHECK(error[1] < 0.02);
  CHECK(error[1] < error[0]);  // tokens of different size: one scale each is better
}

TEST_CASE("with one scale a token, a token's result does not depend on the other tokens") {
  at::manual_seed(3);
  Linear linear(64, 24);
  const at::NoGradGuard no_grad;
  linear->weight.normal_();
  linear->bias.zero_();
  const auto rows = quantize_rows(linear->weight);
  linear->store_int8(rows.values, rows.scale, ActivationScheme::per_token);
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
  const auto rows = quantize_rows(linear->weight);
  linear->store_int8(rows.values, rows.scale, ActivationScheme::per_token);
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
    CHECK(weight.dtype == torch::kChar);
    CHECK((file.tensors().at("bert.encoder.layer.0.attention.self.query.weight_scale").shape ==
           std::vector<int64_t>{32, 1}));
  }
  CHECK_THROWS_AS(quantize(model, {format_of(c.scheme), c.embeddings, c.activations}), UnsupportedError);
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
  CHECK(table[1].bytes_saved == 3 * model->encoder->layers[2]->intermediate->weight.numel());
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
