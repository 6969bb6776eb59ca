#include "tests/support.h"

#include <ATen/Parallel.h>

#include "compress/workflow/error.h"
#include "export/encoder_state.h"
#include "export/model_script.h"
#include "prune/cut.h"
#include "quantize/calibrate.h"
#include "quantize/convert.h"

namespace compression::exporter {
namespace {

using namespace testing;

/// int8 with static activations.
void quantize_statically(Model& model, std::vector<std::string> unquantized = {}) {
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), 2);
  quantize::Formats formats{.activations = ActivationScheme::static_per_tensor, .unquantized = std::move(unquantized)};
  formats.input_scales = quantize::calibrate(model, formats.unquantized, {}, source, quiet_context({}));
  quantize::quantize(model, formats);
}

struct FusedFiles {
  LogitsFunction file, again;  // as it was written, and as it was loaded and saved
};

FusedFiles fused_files(const Model& model) {
  const TemporaryFolder folder;
  save_script(model_script(model, Runtime::fused), folder / "model.pt");
  auto module = load_script(folder / "model.pt");
  module.save((folder / "again.pt").string());
  return {script_logits(module), script_logits(load_script(folder / "again.pt"))};
}

TEST_CASE("model.pt computes what the model does, for any batch and any length") {
  const int kind = GENERATE(0, 1, 2, 3, 4, 5, 6);
  auto model = tiny_model();
  if (kind == 1) {
    const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
    prune::cut_units(*model,
                     {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  }
  using quantize::Scheme;
  if (kind == 2) quantize::quantize(model, {WeightFormat::int8, WeightFormat::int8, ActivationScheme::per_token});
  if (kind == 3) quantize::quantize(model, {WeightFormat::int8, WeightFormat::float16, ActivationScheme::per_tensor});
  if (kind == 4) quantize::quantize(model, {WeightFormat::float16, WeightFormat::float16});
  if (kind == 5) quantize::quantize(model, {WeightFormat::bfloat16, WeightFormat::bfloat16});
  if (kind == 6) quantize_statically(model);

  const TemporaryFolder folder;
  save_script(model_script(model), folder / "model.pt");
  const auto file = script_logits(load_script(folder / "model.pt"));
  const c10::InferenceMode inference;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  check_close(file(batch), model->forward(batch).logits, 1e-5);
  at::manual_seed(1);
  for (const auto& [rows, length] : {std::pair{1, 1}, {1, 40}, {9, 5}, {3, 17}}) {
    const auto ids = torch::randint(0, 64, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2) = 0;
    const Batch other{ids, mask, torch::zeros_like(ids), {}, {}};
    for (int again = 0; again < 3; ++again) check_close(file(other), model->forward(other).logits, 1e-5);
  }
}

TEST_CASE("model.pt of the fused runtime computes what the model does, on any number of threads") {
  using quantize::Scheme;
  const int kind = GENERATE(0, 1, 2, 3, 4, 5, 6);
  auto model = tiny_model();
  if (kind == 1 || kind == 6) {
    const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
    prune::cut_units(*model,
                     {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  }
  auto exact = copy(model);
  if (kind == 2 || kind == 6)
    quantize::quantize(model, {WeightFormat::int8, WeightFormat::int8, ActivationScheme::per_token});
  if (kind == 3) quantize::quantize(model, {WeightFormat::int8, WeightFormat::float16, ActivationScheme::per_tensor});
  if (kind == 4) quantize::quantize(model, {WeightFormat::float16, WeightFormat::float16});
  if (kind == 5) quantize::quantize(model, {WeightFormat::bfloat16, WeightFormat::bfloat16});
  const bool int8 = model->config().linear_format == WeightFormat::int8;
  const double tolerance = kind < 2 || kind == 4 ? 3e-4 : kind == 5 ? 0.02 : 0.15;
  if (int8) {  // the same weights, and activations that are not rounded
    const torch::NoGradGuard no_grad;
    const auto fill = [](const auto& from, const auto& to) {
      for (size_t i = 0; i < from.size(); ++i) {
        auto values = from[i]->weight.to(torch::kFloat);
        if (from[i]->weight_scale.defined()) values = values * from[i]->weight_scale;
        to[i]->weight.copy_(values);
      }
    };
    fill(model->linears(), exact->linears());
    fill(model->embeddings(), exact->embeddings());
  }
  double error = 0.0, portable_error = 0.0;

  const auto [file, again] = fused_files(model);
  const c10::InferenceMode inference;
  at::manual_seed(1);
  const auto threads = at::get_num_threads();
  for (const auto& [rows, length] : {std::pair{0, 3}, {1, 1}, {1, 40}, {9, 5}, {3, 17}, {60, 20}, {5, 33}}) {
    const auto ids = torch::randint(0, 64, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2 + 1) = 0;
    if (rows > 2) mask[2].slice(0, 1) = 0;
    if (rows > 4) mask[4].slice(0, 1, 3) = 0;
    const Batch other{ids, mask, torch::randint(0, 2, {rows, length}, torch::kLong), {}, {}};
    INFO("kind " << kind << ", " << rows << " x " << length);
    const auto expected = rows == 0 ? torch::empty({0, 3}) : (int8 ? exact : model)->forward(other).logits;
    if (int8 && rows > 0) portable_error += (model->forward(other).logits - expected).square().sum().item<double>();
    for (const int n : {1, 2, 3}) {
      at::set_num_threads(n);
      const auto logits = file(other);
      REQUIRE(logits.sizes() == expected.sizes());
      if (rows > 0) check_close(logits, expected, tolerance);
      CHECK(torch::equal(again(other), logits));
      if (int8 && n == 1) error += (logits - expected).square().sum().item<double>();
    }
  }
  at::set_num_threads(threads);
  if (int8) CHECK(error < portable_error);  // eight bits are better than seven
}

TEST_CASE("static activations are the same integers in the fused runtime") {
  const int kind = GENERATE(0, 1, 2);  // whole, pruned, some layers float32
  auto model = tiny_model();
  if (kind == 1) {
    const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
    prune::cut_units(*model,
                     {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  }
  const std::string layer = "bert.encoder.layer.";
  quantize_statically(model, kind < 2
                                 ? std::vector<std::string>{}
                                 : std::vector<std::string>{layer + "0.attention.self.key", layer + "1.output.dense"});
  const auto [file, again] = fused_files(model);
  const c10::InferenceMode inference;
  at::manual_seed(1);
  const auto threads = at::get_num_threads();
  for (const auto& [rows, length] : {std::pair{1, 1}, {1, 40}, {9, 5}, {60, 20}, {5, 33}}) {
    INFO("kind " << kind << ", " << rows << " x " << length);
    const auto ids = torch::randint(0, 64, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2 + 1) = 0;
    const Batch batch{ids, mask, torch::zeros_like(ids), {}, {}};
    const auto expected = model->forward(batch).logits;
    for (const int n : {1, 2}) {
      at::set_num_threads(n);
      const auto logits = file(batch);
      // Where one of query, key and value is float32, the fused runtime rounds the input of none.
      CHECK(((logits - expected).norm() / expected.norm()).item<double>() < (kind < 2 ? 0.04 : 0.06));
      CHECK(torch::equal(again(batch), logits));
    }
  }
  at::set_num_threads(threads);
}

TEST_CASE("input scales that the fused runtime cannot have are refused") {
  auto model = tiny_model();
  quantize_statically(model);
  auto state = encoder_state(model);
  state.tensors.insert_or_assign("layer.1.key.input_scale", torch::full({1}, 0.25f));
  CHECK_THROWS_WITH(ops::Encoder(state),
                    Catch::Contains("layer.1: query, key and value read one input") && Catch::Contains("0.25"));
  state = encoder_state(model);
  state.tensors.insert_or_assign("layer.2.output.input_scale", torch::zeros({1}));
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("layer.2.output.input_scale: found 0"));
  state = encoder_state(model);
  const auto kept = ops::Encoder(state).state();
  CHECK(kept.tensors.size() == state.tensors.size());
  for (const auto& entry : state.tensors) CHECK(torch::equal(kept.tensors.at(entry.key()), entry.value()));
}

TEST_CASE("the fused runtime's file refuses what does not fit, in words") {
  auto model = tiny_model();
  const TemporaryFolder folder;
  save_script(model_script(model, Runtime::fused), folder / "model.pt");
  const auto file = script_logits(load_script(folder / "model.pt"));
  const auto batch_of = [](const torch::Tensor& ids) {
    return Batch{ids, torch::ones_like(ids), torch::zeros_like(ids), {}, {}};
  };
  CHECK_THAT(message_of<UnsupportedError>([&] { file(batch_of(torch::zeros({1, 4096}, torch::kLong))); }),
             Catch::Contains("4096"));
  CHECK_THAT(message_of<UnsupportedError>([&] { file(batch_of(torch::full({1, 3}, 1 << 20, torch::kLong))); }),
             Catch::Contains("token id"));
  auto state = encoder_state(model);
  CHECK(state.tensors.erase("layer.1.output.weight") == 1);
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("layer.1.output.weight"));
  state = encoder_state(model);
  state.tensors.insert_or_assign("layer.0.key.weight", torch::zeros({3, 3}));
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("layer.0.key.weight"));
  state = encoder_state(model);
  state.numbers.insert_or_assign("format", 7.0);
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("format is 7"));
}

TEST_CASE("a file whose logits differ is refused with the difference") {
  auto model = tiny_model();
  const auto context = quiet_context({});
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")));
  const auto own = [&](const Batch& batch) { return model->forward(batch).logits; };
  const auto parity = check_parity(own, own, source, {.largest_difference = 0.0}, "model.pt", context);
  CHECK(parity.largest_difference == 0.0);
  CHECK(parity.file.total == 6);
  const auto off = [&](const Batch& batch) { return model->forward(batch).logits + 0.01; };
  CHECK_THAT(message_of<CheckpointError>([&] { check_parity(own, off, source, {}, "model.pt", context); }),
             Catch::Contains("model.pt") && Catch::Contains("0.01"));
  const auto larger = [&](const Batch& batch) { return model->forward(batch).logits * 1.05; };
  const ParityBounds relative{.largest_difference = INFINITY, .relative_difference = 0.06, .metric = 0.001};
  CHECK(check_parity(own, larger, source, relative, "model.pt", context).relative_difference == Approx(0.05));
  CHECK_THAT(message_of<CheckpointError>(
                 [&] { check_parity(own, larger, source, {INFINITY, 0.04, 0.001}, "model.pt", context); }),
             Catch::Contains("by 0.05 of their size; expected 0.04"));
  const auto broken = [&](const Batch& batch) { return model->forward(batch).logits / 0.0; };
  CHECK_THROWS_AS(check_parity(own, broken, source, {INFINITY, 1.0, 1.0}, "model.pt", context), CheckpointError);
}

TEST_CASE("a file that is not TorchScript is a clear error") {
  const TemporaryFolder folder;
  CHECK_THAT(message_of<CheckpointError>([&] { load_script(folder / "none.pt"); }), Catch::Contains("no such file"));
  write_file(folder / "text.pt", "not a model");
  CHECK_THAT(message_of<CheckpointError>([&] { load_script(folder / "text.pt"); }), Catch::Contains("text.pt"));
  save_script(model_script(tiny_model()), folder / "model.pt");
  const auto whole = read_file(folder / "model.pt");
  for (const size_t size : {size_t{0}, size_t{10}, whole.size() / 2, whole.size() - 1}) {
    write_file(folder / "cut.pt", whole.substr(0, size));
    CHECK_THROWS_AS(load_script(folder / "cut.pt"), CheckpointError);
  }
}

TEST_CASE("a module of any kind can be written") {
  Script script({"x", "y"});
  const auto weight = torch::tensor({{1.0f, 2.0f}}), bias = torch::tensor({3.0f});
  const auto h = script.let(script.linear("head.dense", weight, bias, "x"));
  script.line("if bool(torch.all(y)):");
  script.line("  " + h + " = " + h + " + y");
  script.returns(h);
  const TemporaryFolder folder;
  save_script(script, folder / "m.pt");
  auto module = load_script(folder / "m.pt");
  const auto out = module.forward({torch::tensor({{1.0f, 1.0f}}), torch::ones({1})}).toTensor();
  CHECK(out.item<float>() == 7.0f);
}

TEST_CASE("a folder that is not there is an error that names the file") {
  CHECK_THAT(message_of<StorageError>([] { save_script(model_script(tiny_model()), "/nonexistent/model.pt"); }),
             Catch::Contains("/nonexistent/model.pt"));
}

}  // namespace
}  // namespace compression::exporter
