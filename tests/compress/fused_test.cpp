#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

#include "compress/model/autocast.h"
#include "compress/model/recompute.h"
#include "compress/state_dict/state_dict.h"
#include "compress/train/objective.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

struct Pass {
  torch::Tensor logits;
  std::vector<torch::Tensor> hidden_states;
  StateDict gradients;
};

/// One forward and backward pass on the golden batch, which has padding.
Pass run_pass(Model& model, std::optional<Arithmetic> fused, const Capture& capture = {}, bool recompute = false) {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  model->zero_grad();
  model->train();
  model->set_fused(fused);
  model->set_recompute(recompute);
  const auto output = model->forward(batch, capture);
  auto loss = torch::cross_entropy_loss(output.logits, batch.labels);
  const auto real = batch.attention_mask.unsqueeze(-1);
  for (const auto& states : output.hidden_states) loss = loss + (states * real).square().mean();
  loss.backward();
  Pass pass{output.logits.detach(), {}, {}};
  for (const auto& states : output.hidden_states) pass.hidden_states.push_back((states * real).detach());
  for (const auto& p : model->named_parameters()) {
    if (p.value().grad().defined()) pass.gradients[p.key()] = p.value().grad().to_dense();
  }
  return pass;
}

void check_same(const Pass& found, const Pass& expected, double tolerance) {
  check_close(found.logits, expected.logits, tolerance);
  REQUIRE(found.hidden_states.size() == expected.hidden_states.size());
  for (size_t i = 0; i < found.hidden_states.size(); ++i)
    check_close(found.hidden_states[i], expected.hidden_states[i], tolerance);
  REQUIRE(found.gradients.size() == expected.gradients.size());
  for (const auto& [name, gradient] : expected.gradients) {
    INFO(name);
    check_close(found.gradients.at(name), gradient, tolerance * std::max(1.0, gradient.abs().max().item<double>()));
  }
}

Model model_without_dropout() {
  auto model = tiny_model();
  model->set_dropout(0.0, 0.0);
  model->head->dropout = 0.0;
  return model;
}

TEST_CASE("the fused form computes what LibTorch's operators do, forward and backward") {
  auto model = model_without_dropout();
  for (const auto& [activation, name] : enum_names(Activation{})) {
    for (auto& layer : model->encoder->layers) layer->spec.mlp.activation = activation;
    for (const bool hidden_states : {false, true}) {
      for (const bool recompute : {false, true}) {
        INFO(name << " hidden_states " << hidden_states << " recompute " << recompute);
        const Capture capture{.hidden_states = hidden_states};
        check_same(run_pass(model, Arithmetic::float32, capture, recompute), run_pass(model, std::nullopt, capture),
                   2e-5);
      }
    }
  }
}

TEST_CASE("gradients of several fused passes add up, sparse ones of the words too") {
  auto model = model_without_dropout();
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto once = run_pass(model, Arithmetic::float32).gradients;
  for (const bool sparse : {false, true}) {
    if (sparse) model->encoder->embeddings->word_embeddings->use_sparse_gradient([](const torch::Tensor&) {});
    model->zero_grad();
    for (int i = 0; i < 2; ++i) LabelObjective(model).loss(batch).backward();
    CHECK(model->encoder->embeddings->word_embeddings->weight.grad().is_sparse() == sparse);
    for (const auto& p : model->named_parameters()) {
      INFO(p.key());
      check_close(p.value().grad().to_dense(), once.at(p.key()) * 2, 1e-5);
    }
  }
}

TEST_CASE("products with fewer bits are as near as their bits allow") {
  auto model = model_without_dropout();
  const auto exact = run_pass(model, std::nullopt);
  const auto distance = [&](Arithmetic arithmetic) {
    const auto pass = run_pass(model, arithmetic);
    double most = 0.0;
    for (const auto& [name, gradient] : exact.gradients) {
      if (gradient.norm().item<double>() < 1e-6) continue;  // the keys' biases, which softmax takes no notice of
      most = std::max(most, ((pass.gradients.at(name) - gradient).norm() / gradient.norm()).item<double>());
    }
    return most;
  };
  const double int16 = distance(Arithmetic::int16), bfloat16 = distance(Arithmetic::bfloat16);
  CAPTURE(int16, bfloat16);
  CHECK(int16 < 0.01);
  CHECK(bfloat16 < 0.05);
  CHECK(int16 < bfloat16);
  CHECK(int16 > 1e-6);  // it did not compute in float32
}

TEST_CASE("dropout is the same again from the same state of the generator, and where activations are recomputed") {
  auto model = tiny_model();
  model->set_dropout(0.1, 0.2);
  const auto form =
      GENERATE(std::optional<Arithmetic>(), std::optional(Arithmetic::float32), std::optional(Arithmetic::int16));
  const auto run = [&](uint64_t seed, bool recompute) {
    at::manual_seed(seed);
    return run_pass(model, form, {}, recompute);
  };
  const auto first = run(1, false), again = run(1, true), other = run(2, false);
  CHECK(torch::equal(first.logits, again.logits));
  for (const auto& [name, gradient] : first.gradients) CHECK(torch::equal(gradient, again.gradients.at(name)));
  CHECK_FALSE(torch::equal(first.logits, other.logits));
}

TEST_CASE("recomputed activations leave autocast and the generator as they were, after an exception too") {
  const Autocast bfloat16(torch::kBFloat16, torch::kCPU);
  const auto x = torch::randn({3, 4}).requires_grad_();
  for (const bool fails : {false, true}) {
    int calls = 0;
    const auto y = recomputed(
        [&](const torch::Tensor& in) {
          if (++calls == 2 && fails) throw std::runtime_error("out of memory");
          return torch::dropout(in, 0.5, true) * (at::autocast::is_autocast_enabled(torch::kCPU) ? 1.0 : 2.0);
        },
        x);
    const Autocast none(std::nullopt, torch::kCPU);
    at::manual_seed(11);
    const auto state = at::globalContext().defaultGenerator(torch::kCPU).get_state();
    if (fails) {
      CHECK_THROWS_WITH(y.sum().backward(), "out of memory");
    } else {
      y.sum().backward();
      CHECK(torch::equal(x.grad() * x.detach(), y.detach()));  // the same dropout, under the same autocast
    }
    CHECK(calls == 2);
    CHECK_FALSE(at::autocast::is_autocast_enabled(torch::kCPU));
    CHECK(at::autocast::is_autocast_cache_enabled());
    CHECK(torch::equal(at::globalContext().defaultGenerator(torch::kCPU).get_state(), state));
  }
}

TEST_CASE(
    "steps under autocast have the same gradients where activations are recomputed, with the weights as they are now") {
  const auto dtype = GENERATE(torch::kBFloat16, torch::kHalf);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto steps = [&](bool recompute) {
    auto model = model_without_dropout();
    model->train();
    model->set_recompute(recompute);
    for (int step = 0; step < 3; ++step) {
      model->zero_grad();
      torch::Tensor loss;
      {
        const Autocast autocast(dtype, torch::kCPU);
        loss = LabelObjective(model).loss(batch);
      }
      loss.backward();
      const torch::NoGradGuard no_grad;
      for (auto& p : model->parameters()) {
        if (p.grad().defined()) p.sub_(p.grad(), 0.5);
      }
    }
    return state_dict(*model);
  };
  const auto kept = steps(false);
  for (const auto& [name, tensor] : steps(true)) {
    INFO(name);
    check_close(tensor, kept.at(name), 1e-6);
  }
}

TEST_CASE("the gradient with dropout is that of the function which the same seed computes") {
  auto model = tiny_model();
  model->set_dropout(0.2, 0.2);
  model->head->dropout = 0.0;
  model->train();
  model->set_fused(Arithmetic::float32);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto loss = [&] {
    at::manual_seed(5);
    return LabelObjective(model).loss(batch);
  };
  model->zero_grad();
  loss().backward();
  for (const auto& name : {"bert.encoder.layer.0.attention.self.query.weight",
                           "bert.encoder.layer.0.attention.self.value.bias", "bert.encoder.layer.1.output.dense.weight",
                           "bert.embeddings.LayerNorm.weight", "bert.embeddings.word_embeddings.weight"}) {
    INFO(name);
    auto parameter = model->named_parameters()[name];
    const auto direction = parameter.grad() / parameter.grad().norm();
    const double slope = (parameter.grad() * direction).sum().item<double>();
    const torch::NoGradGuard no_grad;
    constexpr double h = 1e-2;
    parameter.add_(direction, h);
    const double above = loss().item<double>();
    parameter.add_(direction, -2 * h);
    const double below = loss().item<double>();
    parameter.add_(direction, h);
    CHECK((above - below) / (2 * h) == Approx(slope).epsilon(0.03).margin(1e-4));
  }
}

TEST_CASE("the fused form stands back where it can't compute what is asked for") {
  auto model = model_without_dropout();
  const auto attentions = run_pass(model, Arithmetic::float32, {.attentions = true});
  check_same(attentions, run_pass(model, std::nullopt, {.attentions = true}), 1e-6);
  model->encoder->layers[0]->head_mask = torch::zeros({model->encoder->layers[0]->heads()});
  check_same(run_pass(model, Arithmetic::float32), run_pass(model, std::nullopt), 1e-6);
}

}  // namespace
}  // namespace compression
