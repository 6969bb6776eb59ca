// Static int8, SmoothQuant and bias correction, on models.
#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/state_dict/state_dict.h"
#include "quantize/bias_correction.h"
#include "quantize/calibrate.h"
#include "quantize/mixed.h"
#include "quantize/smooth.h"
#include "tests/support.h"

namespace compression::quantize {
namespace {

using namespace testing;

Batch tiny_batch() {
  return golden_batch(golden_tensors("model/tiny.safetensors"));
}

torch::Tensor logits_of(Model& model, const Batch& batch) {
  const at::NoGradGuard no_grad;
  return model->forward(batch).logits;
}

Formats static_formats(Model& model, const Batch& batch) {
  return {.activations = ActivationScheme::static_per_tensor,
          .input_scales = calibrate(model, {}, {}, OneBatch(batch, 2), quiet_context({}))};
}

TEST_CASE("a static int8 layer computes what its integers give") {
  const auto goldens = golden_tensors("quantize/observers.safetensors");
  const auto value = [&](const char* name) { return goldens.at(std::string("linear.") + name); };
  Linear linear(33, 7);
  const at::NoGradGuard no_grad;
  linear->bias.copy_(value("bias"));
  linear->store(WeightFormat::int8, {value("weight"), value("weight_scale")});
  linear->quantize_inputs(ActivationScheme::static_per_tensor, value("input_scale"));
  check_close(linear->forward(value("x")), value("y"), 1e-4);
  check_close(linear->forward(value("x").unsqueeze(1)).squeeze(1), value("y"), 1e-4);
}

TEST_CASE("a static int8 model keeps the logits near, and reloads with equal ones") {
  const auto batch = tiny_batch();
  auto model = tiny_model();
  const auto exact = logits_of(model, batch);
  const auto formats = static_formats(model, batch);
  REQUIRE(formats.input_scales.size() == model->linears().size());
  CHECK_THROWS_AS(quantize(model, {.activations = ActivationScheme::static_per_tensor}), UnsupportedError);
  model = tiny_model();
  quantize(model, formats);
  const auto logits = logits_of(model, batch);
  check_close(logits, exact, 0.5);
  CHECK_FALSE(torch::equal(logits, exact));
  auto twin = copy(model);
  CHECK(torch::equal(logits_of(twin, batch), logits));

  const TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(golden("model/tiny"));
  save_model(model, *tokenizer, folder.path());
  auto again = load_model(folder.path()).model;
  CHECK(again->config().activations == ActivationScheme::static_per_tensor);
  CHECK(torch::equal(logits_of(again, batch), logits));
  const auto inputs = read_json_file(folder / "config.json")
                          .at("quantization_config")
                          .at("config_groups")
                          .at("group_0")
                          .at("input_activations");
  CHECK(inputs.at("dynamic") == false);
  CHECK(inputs.at("strategy") == "tensor");

  StateDict state;
  for (const auto& [name, tensor] : read_state_dict(folder.path())) state[name] = tensor.clone();
  const std::string layer = "bert.encoder.layer.0.attention.self.", name = layer + "query.input_scale";
  CHECK(state.at(name).sizes() == torch::IntArrayRef{1});
  CHECK(torch::equal(state.at(name), state.at(layer + "key.input_scale")));
  CHECK(torch::equal(state.at(name), state.at(layer + "value.input_scale")));
  const auto refusal = [&](const StateDict& other) {
    write_state_dict(folder.path(), other);
    return message_of<CheckpointError>([&] { load_model(folder.path()); });
  };
  for (const float bad : {0.0f, -0.5f, std::nanf(""), HUGE_VALF}) {
    auto other = state;
    other[name] = torch::full({1}, bad);
    CHECK_THAT(refusal(other), Catch::Contains(name + ": found"));
  }
  state.erase(name);
  CHECK_THAT(refusal(state), Catch::Contains("missing") && Catch::Contains(name));
}

TEST_CASE("calibration sees tokens and no padding, and leaves the model as it was") {
  auto model = tiny_model();
  auto batch = tiny_batch();
  model->set_fused(Arithmetic::float32);
  model->train();
  const auto scales = [&] {
    return calibrate(model, {"bert.pooler.dense"}, {.kind = ObserverKind::min_max}, OneBatch(batch, 4),
                     quiet_context({}));
  };
  const auto before = scales();
  CHECK_FALSE(before.contains("bert.pooler.dense"));
  CHECK(before.size() == model->linears().size() - 1);
  REQUIRE(batch.attention_mask().eq(0).any().item<bool>());
  batch["input_ids"] =
      torch::where(batch.attention_mask().eq(0), torch::full_like(batch.input_ids(), 17), batch.input_ids());
  for (const auto& [name, scale] : scales()) CHECK(scale == Approx(before.at(name)).epsilon(1e-6));
  CHECK(model->encoder->fused == Arithmetic::float32);
  CHECK(model->is_training());
  for (auto& linear : model->linears()) CHECK_FALSE(linear->watch);
}

TEST_CASE("what cannot be calibrated on is refused in words") {
  auto model = tiny_model();
  const auto refusal = [&](const Batch& batch) {
    return message_of<DataError>([&] { calibrate(model, {}, {}, OneBatch(batch), quiet_context({})); });
  };
  auto none = tiny_batch();
  for (auto& [name, tensor] : none.tensors) tensor = tensor.slice(0, 0, 0);
  CHECK_THAT(refusal(none), Catch::Contains("no text"));
  const at::NoGradGuard no_grad;
  model->encoder->layers[1]->linear(Role::up)->bias[5] = std::nan("");
  CHECK_THAT(refusal(tiny_batch()), Catch::Contains("bert.encoder.layer.1.output.dense: found NaN"));
  for (auto& linear : model->linears()) CHECK_FALSE(linear->watch);
}

TEST_CASE("with static activations too, as few layers as the bound takes stay float32") {
  auto model = tiny_model();
  const auto formats = static_formats(model, tiny_batch());
  const std::string worst = "bert.encoder.layer.2.output.dense";
  const auto made_up = [&](Model& candidate) {
    double value = 0.9;
    for (const auto& [name, linear] : candidate->named_linears()) {
      if (linear->format() != WeightFormat::int8) continue;
      CHECK(linear->input_scale.item<float>() == formats.input_scales.at(name));
      value -= name == worst ? 0.1 : 0.0;
    }
    return Evaluation{.values = {{Metric::accuracy, value}}, .total = 100};
  };
  CHECK(quantize_within(model, formats, 0.05, made_up).model->config().unquantized == std::vector<std::string>{worst});
}

/// One feature of each layer's values, and one FFN unit, 50 times as large as the others, with the same logits.
Model with_outliers(Activation activation) {
  auto model = tiny_model();
  for (auto& layer : model->config().layers) layer.mlp.activation = activation;
  const at::NoGradGuard no_grad;
  for (auto& layer : model->encoder->layers) {
    layer->spec.mlp.activation = activation;
    for (auto& [maker, reader] : {std::pair(layer->linear(Role::value), layer->linear(Role::attention_output)),
                                  std::pair(layer->linear(Role::up), layer->linear(Role::down))}) {
      if (maker.get() == layer->linear(Role::up).get() && activation != Activation::relu) continue;
      maker->weight[3] *= 50;
      maker->bias[3] *= 50;
      reader->weight.select(1, 3) /= 50;
    }
  }
  return model;
}

TEST_CASE("SmoothQuant keeps the logits, and makes the int8 layers' error smaller") {
  const auto activation = GENERATE(Activation::gelu, Activation::relu);
  const auto scheme =
      GENERATE(ActivationScheme::per_token, ActivationScheme::per_tensor, ActivationScheme::static_per_tensor);
  INFO(enum_name(activation) << ", scheme " << static_cast<int>(scheme));
  const auto batch = tiny_batch();
  const OneBatch source(batch, 2);
  const auto context = quiet_context({});
  const Formats formats{.activations = scheme};
  auto model = with_outliers(activation);
  const auto before = logits_of(model, batch);
  const auto layers = smooth(model, formats, {}, std::nullopt, source, context);
  REQUIRE(layers.size() == (activation == Activation::relu ? 6 : 3));
  CHECK(layers.front().layer == "bert.encoder.layer.0.attention.output.dense");
  for (const auto& layer : layers) {
    INFO(layer.layer);
    CHECK(layer.strength > 0.0);
    CHECK(layer.error < 0.5 * layer.before);
  }
  check_close(logits_of(model, batch), before, 1e-5);

  auto fixed = with_outliers(activation);
  for (const auto& layer : smooth(fixed, formats, {}, 0.5, source, context)) CHECK(layer.strength == 0.5);
  check_close(logits_of(fixed, batch), before, 1e-5);
  const auto ignored =
      smooth(fixed, {.unquantized = {"bert.encoder.layer.0.attention.output.dense"}}, {}, 0.5, source, context);
  CHECK(ignored.size() == layers.size() - 1);
}

TEST_CASE("layers that share weights are smoothed once") {
  auto model = load_model(golden("model/families/albert")).model;
  const auto batch = golden_batch(golden_tensors("model/families/albert.safetensors"));
  const auto before = logits_of(model, batch);
  size_t own = 0;
  for (size_t i = 0; i < model->config().layers.size(); ++i) own += model->config().first_use(i) == i ? 1 : 0;
  REQUIRE(own < model->config().layers.size());
  const bool relu = model->config().hidden_act() == Activation::relu;
  const auto layers = smooth(model, {}, {}, 0.5, OneBatch(batch, 2), quiet_context({}));
  CHECK(layers.size() == (relu ? 2 * own : own));
  check_close(logits_of(model, batch), before, 1e-5);
}

/// The largest mean of original(x) - quantized(x) of an output, over tokens.
double largest_mean_error(Model& original, Model& quantized, const BatchSource& source) {
  const auto from = original->linears(), to = quantized->linears();
  std::vector<torch::Tensor> sums(to.size());
  std::vector<int64_t> rows(to.size());
  each_input(original, from, source, quiet_context({}), [&](size_t i, const torch::Tensor& x) {
    auto own = to[i];
    const auto difference = torch::linear(x, from[i]->weight, from[i]->bias) - own->forward(x);
    const auto sum = difference.sum({0}, false, torch::kDouble);
    sums[i] = sums[i].defined() ? sums[i] + sum : sum;
    rows[i] += x.size(0);
  });
  double largest = 0.0;
  for (size_t i = 0; i < to.size(); ++i) {
    largest = std::max(largest, sums[i].abs().max().item<double>() / static_cast<double>(rows[i]));
  }
  return largest;
}

TEST_CASE("corrected biases leave no mean error in a layer's outputs") {
  const auto scheme = GENERATE(ActivationScheme::per_token, ActivationScheme::static_per_tensor);
  auto original = tiny_model();
  const auto batch = tiny_batch();
  auto formats = static_formats(original, batch);
  formats.activations = scheme;
  formats.unquantized = {"bert.encoder.layer.1.output.dense"};
  auto model = copy(original);
  quantize(model, formats);
  const OneBatch source(batch, 2);
  const double before = largest_mean_error(original, model, source);
  const auto untouched = model->encoder->layers[1]->linear(Role::down)->bias.clone();
  CHECK(correct_biases(model, original, source, quiet_context({})) > 0.0);
  CHECK(before > 1e-4);
  CHECK(largest_mean_error(original, model, source) < 1e-5);
  CHECK(torch::equal(model->encoder->layers[1]->linear(Role::down)->bias, untouched));
  CHECK(model->encoder->layers[0]->linear(Role::down)->bias.scalar_type() == torch::kFloat);
  check_close(logits_of(model, batch), logits_of(original, batch), 0.5);
}

std::string refusal(const QuantizeConfig& config) {
  return message_of<ConfigError>([&] { check(config); });
}

TEST_CASE("settings that do not apply are refused, each with a line") {
  using enum Scheme;
  check(QuantizeConfig{});
  check(QuantizeConfig{.scheme = int8_static,
                       .ignore = {"*"},
                       .max_drop = 0.1,
                       .sensitivity = true,
                       .observer = ObserverKind::percentile,
                       .percentile = 100.0,
                       .calibration_examples = 0,
                       .smooth_quant = true,
                       .smooth_strength = 1.0,
                       .bias_correction = true});
  check(
      QuantizeConfig{.activations = ActivationScheme::per_tensor, .calibration_examples = 9, .bias_correction = true});
  CHECK(refusal({.scheme = int8_static, .activations = ActivationScheme::per_tensor}) ==
        "activations: found per_tensor with scheme int8_static, whose scales are of whole tensors; expected scheme "
        "int8_dynamic with it");
  CHECK(refusal({.activations = ActivationScheme::static_per_tensor}) ==
        "activations: found static ones, expected scheme int8_static, which makes them");
  CHECK(refusal({.observer = ObserverKind::entropy}) ==
        "observer: found with scheme int8_dynamic, expected scheme int8_static with it");
  CHECK(refusal({.scheme = int8_static, .percentile = 99.0}) ==
        "percentile: found with observer mse, expected observer percentile with it");
  for (const double bad : {50.0, 100.5, std::nan("")}) {
    CHECK_THAT(refusal({.scheme = int8_static, .observer = ObserverKind::percentile, .percentile = bad}),
               Catch::StartsWith("percentile: found") && Catch::EndsWith("expected a number above 50, up to 100"));
  }
  CHECK(refusal({.smooth_strength = 0.5}) ==
        "smooth_strength: found with smooth_quant false, expected smooth_quant true with it");
  for (const double bad : {0.0, 1.5}) {
    CHECK_THAT(refusal({.smooth_quant = true, .smooth_strength = bad}),
               Catch::StartsWith("smooth_strength: found") && Catch::EndsWith("expected a number above 0, up to 1"));
  }
  CHECK_THAT(refusal({.calibration_examples = 9}),
             Catch::StartsWith("calibration_examples: found with scheme int8_dynamic, which reads no texts"));
  CHECK(refusal({.scheme = int8_static, .calibration_examples = -1}) ==
        "calibration_examples: found -1, expected at least 0");
  CHECK(refusal({.scheme = fp16, .smooth_quant = true, .bias_correction = true}) ==
        "smooth_quant: found with scheme fp16, expected scheme int8_dynamic or int8_static with it\n"
        "bias_correction: found with scheme fp16, expected scheme int8_dynamic or int8_static with it");
}

}  // namespace
}  // namespace compression::quantize
