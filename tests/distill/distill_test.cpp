#include "tests/support.h"

#include "compress/train/trainer.h"
#include "compress/workflow/error.h"
#include "distill/losses.h"
#include "distill/objective.h"

namespace compression::distill {
namespace {

using namespace testing;

const ModelShape tiny_shape{3, 32};

TEST_CASE("losses equal those of torch.nn.functional") {
  const auto g = golden_tensors("model/tiny.safetensors");
  for (const double t : {1.0, 2.0, 5.0}) {
    check_close(logits_loss(g.at("logits"), g.at("loss.teacher_logits"), t), g.at(fmt::format("loss.logits.{:g}", t)),
                1e-5);
  }
  check_close(hidden_loss(g.at("hidden_states.1"), g.at("hidden_states.3"), g.at("attention_mask")),
              g.at("loss.hidden"), 1e-5);
  check_close(attention_loss(g.at("attentions.0"), g.at("attentions.2"), g.at("attention_mask")),
              g.at("loss.attentions"), 1e-6);
}

TEST_CASE("every loss of a model to itself is zero") {
  const auto g = golden_tensors("model/tiny.safetensors");
  auto model = tiny_model();
  const at::NoGradGuard no_grad;
  const auto output = model->forward(golden_batch(g), {true, true});
  const DistillationLoss loss({{.type = LossType::logits},
                               {.type = LossType::hidden_states},
                               {.type = LossType::embeddings},
                               {.type = LossType::attentions}},
                              tiny_shape, tiny_shape);
  CHECK(loss(output, output, {}, g.at("attention_mask")).item<double>() == Approx(0.0).margin(1e-6));
  CHECK(loss.capture().hidden_states);
  CHECK(loss.capture().attentions);
  CHECK_FALSE(loss.logits_only());
}

TEST_CASE("the sum weighs its losses") {
  const auto g = golden_tensors("model/tiny.safetensors");
  const ModelOutput student{g.at("logits"), {}, {}}, teacher{g.at("loss.teacher_logits"), {}, {}};
  const DistillationLoss loss(
      {{.type = LossType::logits, .weight = 0.75, .temperature = 5.0}, {.type = LossType::labels, .weight = 0.25}},
      tiny_shape, tiny_shape);
  const auto labels = torch::cross_entropy_loss(g.at("logits"), g.at("labels"));
  check_close(loss(student, teacher, g.at("labels"), g.at("attention_mask")),
              0.75 * g.at("loss.logits.5") + 0.25 * labels, 1e-5);
  CHECK(loss.logits_only());
}

TEST_CASE("layers are mapped evenly, last to last") {
  CHECK((uniform_layer_map(3, 6) == std::vector<LayerPair>{{0, 1}, {1, 3}, {2, 5}}));
  CHECK((uniform_layer_map(4, 12) == std::vector<LayerPair>{{0, 2}, {1, 5}, {2, 8}, {3, 11}}));
  CHECK((uniform_layer_map(2, 2) == std::vector<LayerPair>{{0, 0}, {1, 1}}));
  CHECK((uniform_layer_map(2, 1) == std::vector<LayerPair>{{0, 0}, {1, 0}}));
}

TEST_CASE("where widths differ a projection is learnt") {
  const auto g = golden_tensors("model/tiny.safetensors");
  DistillationLoss loss(
      {{.type = LossType::hidden_states, .layers = {{{0, 1}, {1, 2}}}}, {.type = LossType::embeddings}}, {2, 16},
      {3, 32});
  REQUIRE(loss.parameters().size() == 3);
  ModelOutput student, teacher;
  student.logits = teacher.logits = g.at("logits");
  for (int i = 0; i < 3; ++i) student.hidden_states.push_back(torch::randn({6, 12, 16}));
  for (int i = 0; i < 4; ++i) teacher.hidden_states.push_back(g.at(fmt::format("hidden_states.{}", i)));
  loss(student, teacher, {}, g.at("attention_mask")).backward();
  for (const auto& projection : loss.parameters()) {
    CHECK((projection.sizes() == torch::IntArrayRef{32, 16}));
    CHECK(projection.grad().abs().sum().item<double>() > 0);
  }
}

TEST_CASE("a layer that is not there is named") {
  const auto message = message_of<ConfigError>([] {
    DistillationLoss({{.type = LossType::attentions, .layers = {{{0, 3}}}}}, tiny_shape, tiny_shape);
  });
  CHECK_THAT(message, Catch::Contains("[0, 3]") && Catch::Contains("teacher 0 to 2"));
}

TEST_CASE("a student has the layers that were chosen, in that order") {
  auto teacher = tiny_model();
  auto student = keep_layers(teacher, {2, 0});
  REQUIRE(student->config().layers.size() == 2);
  CHECK(torch::equal(student->encoder->layers[0]->query->weight, teacher->encoder->layers[2]->query->weight));
  CHECK(torch::equal(student->encoder->layers[1]->output->bias, teacher->encoder->layers[0]->output->bias));
  CHECK(torch::equal(student->head->linears()[0]->weight, teacher->head->linears()[0]->weight));
  CHECK_THROWS_AS(keep_layers(teacher, {3}), ConfigError);
}

TEST_CASE("distillation brings a student's logits to its teacher's, and leaves the teacher alone") {
  auto teacher = tiny_model();
  auto student = keep_layers(teacher, {0, 2});
  const auto before = teacher->head->classifier->weight.clone();
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const OneBatch source(batch);
  const auto distance = [&] {
    const at::NoGradGuard no_grad;
    return (student->forward(batch).logits - teacher->forward(batch).logits).abs().mean().item<double>();
  };
  const double at_first = distance();
  const bool with_hidden = GENERATE(false, true);
  std::vector<LossConfig> losses = {{.type = LossType::logits}};
  if (with_hidden) losses.push_back({.type = LossType::hidden_states, .weight = 0.1});
  DistillObjective objective(student, teacher, DistillationLoss(losses, {2, 32}, tiny_shape));
  const TemporaryFolder folder;
  auto context = quiet_context(folder.path());
  const TrainConfig config{.epochs = 30, .learning_rate = 3e-3, .precision = Precision::float32};
  student->set_dropout(0.0, 0.0);
  student->head->dropout = 0.0;
  const auto logits = [&](const Batch& b) { return student->forward(b).logits; };
  train(
      *student, objective, source, config, [&] { return evaluate(logits, source, context); }, context);
  CHECK(distance() < 0.5 * at_first);
  CHECK(torch::equal(before, teacher->head->classifier->weight));
}

TEST_CASE("kept teacher logits train as a teacher that runs does") {
  auto teacher = tiny_model();
  auto student = keep_layers(teacher, {1});
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto loss = [] { return DistillationLoss({{.type = LossType::logits}}, {1, 32}, tiny_shape); };
  const at::NoGradGuard no_grad;
  DistillObjective live(student, teacher, loss()), kept(student, teacher, loss(), teacher->forward(batch).logits);
  check_close(kept.loss(batch), live.loss(batch), 1e-6);
}

}  // namespace
}  // namespace compression::distill
