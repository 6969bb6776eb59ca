#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

#include "compress/model/autocast.h"
#include "compress/model/fused.h"
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

struct Network {
  std::string name;
  Model model{nullptr};
  Batch batch;  // with padding

  Network(std::string what, const std::string& golden_name)
      : name(std::move(what)),
        model(load_model(golden(golden_name)).model),
        batch(golden_batch(golden_tensors(golden_name + ".safetensors"))) {
    remove_dropout();
  }

  /// With random weights, and texts that are longer than a block of queries.
  Network(std::string what, ModelConfig config) : name(std::move(what)) {
    config.task = TaskType::classification;
    config.labels = {"a", "b", "c"};
    config.initializer_range = 0.15;
    config.max_position_embeddings = 110;
    at::manual_seed(12);
    model = Model(config);
    model->initialize();
    const torch::NoGradGuard no_grad;
    for (auto& p : model->parameters()) {
      if (p.dim() == 1) p.add_(torch::randn_like(p), 0.1);
    }
    const auto lengths = torch::tensor({110, 3, 61}, torch::kLong);
    const auto mask = torch::arange(110).unsqueeze(0).lt(lengths.unsqueeze(1)).to(torch::kLong);
    const auto ids = torch::randint(3, config.vocab_size, mask.sizes(), torch::kLong) * mask;
    batch = text_batch(ids, mask, torch::zeros_like(ids), torch::tensor({0, 2, 1}, torch::kLong));
    remove_dropout();
  }

 private:
  void remove_dropout() {
    model->set_dropout(0.0, 0.0);
    model->head->dropout = 0.0;
  }
};

/// Layers of ModernBERT's with heads and units of their own; none of either in one.
ModelConfig pruned_modernbert() {
  auto config = load_model(golden("model/families/modernbert")).model->config();
  const auto like = config.layers;
  config.layers = blocks({{3, 40}, {1, 0}, {0, 17}, {2, 8}}, 8, like[1]);
  config.layers[0].attention_norm = false;
  config.layers[2].attention = like[0].attention;
  config.layers[2].attention.heads = 0;
  return config;
}

/// What no family has together, each option in a block beside others: of decoders' too.
ModelConfig every_option() {
  ModelConfig config{.vocab_size = 60, .hidden_size = 24, .input = {.norm = false}};
  config.layers = blocks({{3, 20}, {6, 20}, {4, 20}}, 8);
  auto &first = config.layers[0], &second = config.layers[1], &third = config.layers[2];
  first.place = NormPlace::before;
  first.norm = {.kind = NormKind::rms, .eps = 1e-5};
  first.attention.positions = Positions::rotary;
  first.attention.causal = true;
  first.attention.group = 3;
  first.mlp = {.units = 20, .activation = Activation::silu, .gated = true, .bias = false};
  second.norm.bias = false;
  second.attention.group = 2;
  second.attention.window = 7;
  second.attention.bias = false;
  second.mlp.gated = true;
  third.place = NormPlace::before;
  third.attention.output_bias = false;
  third.attention.positions = Positions::rotary;
  third.attention.rotary_base = 100.0;
  third.attention.causal = true;
  third.attention.window = 50;
  config.final_norm = true;
  return config;
}

std::vector<Network> networks() {
  return {{"BERT", "model/tiny"},
          {"ModernBERT", "model/families/modernbert"},
          {"ModernBERT with biases", "model/families/modernbert_biases"},
          {"pruned ModernBERT", pruned_modernbert()},
          {"every option", every_option()}};
}

/// One forward and backward pass.
Pass run_pass(Network& network, std::optional<Arithmetic> fused, const Capture& capture = {}, bool recompute = false) {
  auto& [name, model, batch] = network;
  REQUIRE(can_fuse(model->config()));
  model->zero_grad();
  model->train();
  model->set_fused(fused);
  model->set_recompute(recompute);
  const auto output = model->forward(batch, capture);
  auto loss = torch::cross_entropy_loss(output.logits, batch.labels());
  const auto real = batch.attention_mask().unsqueeze(-1);
  for (const auto& states : output.hidden_states) loss = loss + (states * real).square().mean();
  loss.backward();
  Pass pass{output.logits.detach(), {}, {}};
  for (const auto& states : output.hidden_states) pass.hidden_states.push_back((states * real).detach());
  for (const auto& p : model->named_parameters()) {
    if (p.value().numel() == 0) continue;
    const auto& gradient = p.value().grad();
    pass.gradients[p.key()] = gradient.defined() ? gradient.to_dense() : torch::zeros_like(p.value());
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

TEST_CASE("the fused form computes what LibTorch's operators do, forward and backward") {
  for (auto& network : networks()) {
    for (const auto& [activation, activation_name] : enum_names(Activation{})) {
      for (auto& layer : network.model->encoder->layers) layer->spec.mlp.activation = activation;
      for (const bool hidden_states : {false, true}) {
        const Capture capture{.hidden_states = hidden_states};
        const auto expected = run_pass(network, std::nullopt, capture);
        for (const bool recompute : {false, true}) {
          INFO(network.name << ", " << activation_name << " hidden_states " << hidden_states << " recompute "
                            << recompute);
          check_same(run_pass(network, Arithmetic::float32, capture, recompute), expected, 2e-5);
        }
      }
    }
  }
}

TEST_CASE("gradients of several fused passes add up, sparse ones of the words too") {
  for (auto& network : networks()) {
    auto& [name, model, batch] = network;
    const auto once = run_pass(network, Arithmetic::float32).gradients;
    for (const bool sparse : {false, true}) {
      if (sparse) model->encoder->embeddings->word_embeddings->use_sparse_gradient([](const torch::Tensor&) {});
      model->zero_grad();
      for (int i = 0; i < 2; ++i) LabelObjective(model).loss(batch).backward();
      CHECK(model->encoder->embeddings->word_embeddings->weight.grad().is_sparse() == sparse);
      for (const auto& p : model->named_parameters()) {
        if (p.value().numel() == 0) continue;
        INFO(name << " " << p.key());
        check_close(p.value().grad().to_dense(), once.at(p.key()) * 2, 1e-5);
      }
    }
  }
}

TEST_CASE("products with fewer bits are as near as their bits allow") {
  for (auto& network : networks()) {
    const auto exact = run_pass(network, std::nullopt);
    const auto distance = [&](Arithmetic arithmetic) {
      const auto pass = run_pass(network, arithmetic);
      double most = 0.0;
      for (const auto& [name, gradient] : exact.gradients) {
        if (gradient.norm().item<double>() < 1e-6) continue;  // the keys' biases, which softmax takes no notice of
        most = std::max(most, ((pass.gradients.at(name) - gradient).norm() / gradient.norm()).item<double>());
      }
      return most;
    };
    const double int16 = distance(Arithmetic::int16), bfloat16 = distance(Arithmetic::bfloat16);
    INFO(network.name);
    CAPTURE(int16, bfloat16);
    CHECK(int16 < 0.01);
    CHECK(bfloat16 < 0.05);
    CHECK(int16 < bfloat16);
    CHECK(int16 > 1e-6);  // it did not compute in float32
  }
}

TEST_CASE("dropout is the same again from the same state of the generator, and where activations are recomputed") {
  const auto form =
      GENERATE(std::optional<Arithmetic>(), std::optional(Arithmetic::float32), std::optional(Arithmetic::int16));
  for (auto& network : networks()) {
    INFO(network.name);
    network.model->set_dropout(0.1, 0.2);
    const auto run = [&](uint64_t seed, bool recompute) {
      at::manual_seed(seed);
      return run_pass(network, form, {}, recompute);
    };
    const auto first = run(1, false), again = run(1, true), other = run(2, false);
    CHECK(torch::equal(first.logits, again.logits));
    for (const auto& [name, gradient] : first.gradients) CHECK(torch::equal(gradient, again.gradients.at(name)));
    CHECK_FALSE(torch::equal(first.logits, other.logits));
  }
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
    auto model = Network("BERT", "model/tiny").model;
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
  for (auto& [network, model, batch] : networks()) {
    model->set_dropout(0.2, 0.2);
    model->head->dropout = 0.0;
    model->train();
    model->set_fused(Arithmetic::float32);
    const auto loss = [&, &objective = model, &texts = batch] {
      at::manual_seed(5);
      return LabelObjective(objective).loss(texts);
    };
    model->zero_grad();
    loss().backward();
    const auto parameters = model->named_parameters();
    for (const auto& name :
         {"bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.0.attention.self.value.bias",
          "bert.encoder.layer.1.attention.self.key.weight", "bert.encoder.layer.0.intermediate.gate.weight",
          "bert.encoder.layer.1.output.dense.weight", "bert.encoder.layer.0.output.LayerNorm.weight",
          "bert.embeddings.LayerNorm.weight", "bert.embeddings.word_embeddings.weight"}) {
      const auto* parameter = parameters.find(name);
      if (parameter == nullptr || parameter->numel() == 0) continue;
      INFO(network << " " << name);
      const auto direction = parameter->grad() / parameter->grad().norm();
      const double slope = (parameter->grad() * direction).sum().item<double>();
      const torch::NoGradGuard no_grad;
      constexpr double h = 1e-2;
      parameter->add_(direction, h);
      const double above = loss().item<double>();
      parameter->add_(direction, -2 * h);
      const double below = loss().item<double>();
      parameter->add_(direction, h);
      CHECK((above - below) / (2 * h) == Approx(slope).epsilon(0.03).margin(1e-4));
    }
  }
}

TEST_CASE("the fused form stands back where it can't compute what is asked for") {
  for (auto& network : networks()) {
    INFO(network.name);
    const auto attentions = run_pass(network, Arithmetic::float32, {.attentions = true});
    check_same(attentions, run_pass(network, std::nullopt, {.attentions = true}), 1e-6);
    auto& layer = network.model->encoder->layers[0];
    layer->head_mask = torch::zeros({layer->heads()});
    check_same(run_pass(network, Arithmetic::float32), run_pass(network, std::nullopt), 1e-6);
    layer->head_mask.reset();
    if (network.name == "BERT") continue;  // where a mask may have zeros anywhere
    network.batch["attention_mask"] = network.batch.attention_mask().clone();
    network.batch.attention_mask()[0][1] = 0;
    check_same(run_pass(network, Arithmetic::float32), run_pass(network, std::nullopt), 1e-6);
  }
}

}  // namespace
}  // namespace compression
