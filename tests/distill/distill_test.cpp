#include "tests/support.h"

#include <set>

#include "compress/base/error.h"
#include "compress/model/autocast.h"
#include "compress/task/task.h"
#include "compress/train/trainer.h"
#include "compress/workflow/folder_lock.h"
#include "distill/losses.h"
#include "distill/objective.h"
#include "distill/student.h"
#include "distill/teacher_cache.h"
#include "distill/teacher_outputs.h"

namespace compression::distill {
namespace {

using namespace testing;

const ModelShape tiny_shape{3, 32};

/// What the products around a loss may be made with; a loss itself is float32.
std::vector<std::optional<torch::Dtype>> autocasts() {
  return {std::nullopt, torch::kBFloat16, torch::kHalf};
}

TEST_CASE("losses equal those of torch.nn.functional") {
  const Autocast ambient(GENERATE(from_range(autocasts())), torch::kCPU);
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

TEST_CASE("the losses of each task's logits equal PyTorch's") {
  const Autocast ambient(GENERATE(from_range(autocasts())), torch::kCPU);
  const auto g = golden_tensors("distill/task_losses.safetensors");
  const auto check = [&](TaskType task, const std::string& of, const std::string& teacher, const std::string& expected,
                         const torch::Tensor& labels = {}) {
    INFO(expected);
    const auto found = find_task(task).teacher_loss(g.at(of + ".student"), g.at(teacher), labels, g.at("mask"), 2.0);
    check_close(found, g.at(expected), 1e-6);
  };
  check(TaskType::regression, "text", "text.teacher", "regression");
  check(TaskType::multi_label, "text", "text.teacher", "multi_label");
  check(TaskType::embedding, "embedding", "embedding.teacher", "embedding");
  check(TaskType::embedding, "embedding", "embedding.wide", "embedding.widths");
  for (const auto task : {TaskType::token_classification, TaskType::masked_lm}) {
    check(task, "token", "token.teacher", "token_classification", g.at("token.labels"));
    check(task, "token", "token.teacher", "token_classification.unlabelled");
  }
  check(TaskType::question_answering, "span", "span.teacher", "question_answering");
  check_close(find_task(TaskType::question_answering)
                  .teacher_loss(g.at("span.student"), g.at("span.teacher"), {}, g.at("mask"), 2.0, Distance::mse),
              g.at("question_answering.mse"), 1e-6);
}

TEST_CASE("the distances of each loss equal PyTorch's") {
  const Autocast ambient(GENERATE(from_range(autocasts())), torch::kCPU);
  const auto g = golden_tensors("distill/losses.safetensors");
  const auto& mask = g.at("mask");
  check_close(logits_loss(g.at("logits.student"), g.at("logits.teacher"), 2.0, Distance::mse), g.at("logits.mse"),
              1e-6);
  check_close(logits_loss(g.at("logits.student"), g.at("logits.teacher"), 2.0, Distance::cross_entropy),
              g.at("logits.cross_entropy.2"), 1e-5);
  check_close(hidden_loss(g.at("hidden.student"), g.at("hidden.teacher"), mask, Distance::normalized_mse),
              g.at("hidden.normalized_mse"), 1e-6);
  check_close(hidden_loss(g.at("hidden.student"), g.at("hidden.teacher"), mask, Distance::cosine),
              g.at("hidden.cosine"), 1e-6);
  const auto &s = g.at("attention.student"), &t = g.at("attention.teacher");
  check_close(attention_loss(s, t, mask, Distance::kl), g.at("attention.kl"), 1e-5);
  check_close(attention_loss(s, t, mask, Distance::cosine), g.at("attention.cosine"), 1e-6);
  CHECK_THROWS_AS(hidden_loss(s, t, mask, Distance::kl), std::invalid_argument);
}

TEST_CASE("relations of queries, keys and values equal a reference, whatever the widths; so does their gradient") {
  const auto dtype = GENERATE(from_range(autocasts()));
  const auto g = golden_tensors("distill/losses.safetensors");
  const auto student = g.at("relation.student").clone().requires_grad_();
  torch::Tensor loss;
  {
    const Autocast ambient(dtype, torch::kCPU);  // the backward pass is outside of it, as in training
    loss = relation_loss(student, g.at("relation.teacher"), g.at("mask"), 4);
    check_close(loss, g.at("relation.4"), 1e-5);
    check_close(relation_loss(student, g.at("relation.teacher"), g.at("mask"), 6), g.at("relation.6"), 1e-5);
  }
  loss.backward();
  check_close(student.grad(), g.at("relation.4.gradient"), 1e-6);
}

TEST_CASE("every loss of a model to itself is zero") {
  const auto g = golden_tensors("model/tiny.safetensors");
  auto model = tiny_model();
  const at::NoGradGuard no_grad;
  const auto output = model->forward(golden_batch(g), {.hidden_states = true, .attentions = true, .projections = true});
  const auto shape = shape_of(model);
  const DistillationLoss loss({{.type = LossType::logits},
                               {.type = LossType::hidden_states},
                               {.type = LossType::hidden_states, .layer_map = LayerMap::minimum_distance},
                               {.type = LossType::embeddings, .distance = Distance::cosine},
                               {.type = LossType::attentions},
                               {.type = LossType::attentions, .distance = Distance::kl, .layer_map = LayerMap::last},
                               {.type = LossType::relations}},
                              shape, shape);
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
  CHECK((last_layer_map(2, 6) == std::vector<LayerPair>{{0, 4}, {1, 5}}));
  CHECK((last_layer_map(3, 2) == std::vector<LayerPair>{{1, 0}, {2, 1}}));
}

TEST_CASE("with minimum_distance each layer of the teacher teaches the nearest of the student's") {
  const auto mask = torch::ones({2, 4}, torch::kLong);
  const auto level = [](double value) { return torch::full({2, 4, 32}, value); };
  // The teacher's layers 1 and 3 are taught (uniform); the student's are nearest to them the other way round.
  const ModelOutput teacher{torch::zeros({2, 3}), {level(9), level(0), level(1), level(0), level(5)}, {}, {}};
  ModelOutput student{torch::zeros({2, 3}), {level(9), level(4.5), level(1.25)}, {}, {}};
  const DistillationLoss loss({{.type = LossType::hidden_states, .layer_map = LayerMap::minimum_distance}}, {2, 32},
                              {4, 32});
  CHECK(loss(student, teacher, {}, mask).item<double>() == Approx((0.25 * 0.25 + 0.5 * 0.5) / 2));
  std::swap(student.hidden_states[1], student.hidden_states[2]);
  CHECK(loss(student, teacher, {}, mask).item<double>() == Approx((0.25 * 0.25 + 0.5 * 0.5) / 2));
}

TEST_CASE("relation heads have to divide the widths of both models") {
  const auto shape = shape_of(tiny_model());
  CHECK_THROWS_WITH(DistillationLoss({{.type = LossType::relations, .relation_heads = 5}}, shape, shape),
                    Catch::Contains("relation_heads: found 5, expected a divisor of 32"));
}

TEST_CASE("relation heads are those of the teacher's layer, and a layer without heads is refused by name") {
  auto teacher = shape_of(tiny_model()), student = teacher;
  CHECK((teacher.heads == std::vector<int64_t>{4, 4, 4}));
  teacher.heads = {4, 2, 0};
  teacher.attention_widths = {32, 16, 0};
  student.attention_widths = {32, 32, 32};
  const auto loss_on = [&](std::vector<std::vector<int64_t>> layers, std::optional<int64_t> heads) {
    return DistillationLoss({{.type = LossType::relations, .layers = std::move(layers), .relation_heads = heads}},
                            student, teacher);
  };
  CHECK_NOTHROW(loss_on({{0, 0}, {1, 1}}, std::nullopt));
  for (const auto heads : {std::optional<int64_t>(), std::optional<int64_t>(4)}) {
    CHECK_THAT(message_of<ConfigError>([&] { loss_on({{2, 2}}, heads); }),
               Catch::Contains("losses of relations: found layer 2 of the teacher, which has no heads"));
  }
  CHECK_THAT(message_of<ConfigError>([&] { DistillationLoss({{.type = LossType::relations}}, student, teacher); }),
             Catch::Contains("which has no heads"));
}

TEST_CASE("with minimum_distance each text has its own nearest layer") {
  const auto mask = torch::tensor({{1, 1, 1, 1}, {1, 1, 0, 0}});
  const auto levels = [](double first, double second) {
    return torch::stack({torch::full({4, 32}, first), torch::full({4, 32}, second)});
  };
  const ModelOutput teacher{torch::zeros({2, 3}), {levels(9, 9), levels(0, 0)}, {}, {}};
  const ModelOutput student{torch::zeros({2, 3}), {levels(9, 9), levels(1, 3), levels(2, 0.5)}, {}, {}};
  const DistillationLoss loss({{.type = LossType::hidden_states, .layer_map = LayerMap::minimum_distance}}, {2, 32},
                              {1, 32});
  CHECK(loss(student, teacher, {}, mask).item<double>() == Approx((4 * 1.0 + 2 * 0.25) / 6));
}

TEST_CASE("a teacher's kept outputs are named by all that they follow from") {
  const OneBatch texts(golden_batch(golden_tensors("model/tiny.safetensors")), 3);
  const auto folder = golden("model/tiny");
  const TaskHead head{{"a", "b", "c"}};
  const auto key = teacher_key(folder, head, std::nullopt, false, texts, "fp32 fused");
  CHECK(key == teacher_key(folder, head, std::nullopt, false, texts, "fp32 fused"));
  const std::set<std::string> all = {
      key,
      teacher_key(folder, {{"b", "a", "c"}}, std::nullopt, false, texts, "fp32 fused"),
      teacher_key(folder, {{"ab", "c"}}, std::nullopt, false, texts, "fp32 fused"),
      teacher_key(folder, {{"a", "b", "c"}, TaskType::multi_label}, std::nullopt, false, texts, "fp32 fused"),
      teacher_key(folder, head, 1, false, texts, "fp32 fused"),
      teacher_key(folder, head, 2, false, texts, "fp32 fused"),
      teacher_key(folder, head, std::nullopt, true, texts, "fp32 fused"),
      teacher_key(folder, head, std::nullopt, false, texts, "fp32 operators"),
      teacher_key(golden("model/families/albert"), head, std::nullopt, false, texts, "fp32 fused")};
  CHECK(all.size() == 9);
}

TEST_CASE("losses of nothing are 0, with a gradient of zeros") {
  const auto mask = torch::zeros({2, 3}, torch::kLong), labels = torch::full({2, 3}, ignored_label);
  const auto check_zero = [](const char* what, const torch::Tensor& loss, const torch::Tensor& student) {
    INFO(what);
    CHECK(loss.item<double>() == 0.0);
    loss.backward();
    CHECK(student.grad().eq(0).all().item<bool>());
    student.mutable_grad() = torch::Tensor();
  };
  const auto student = torch::randn({2, 3, 4}).requires_grad_(), teacher = torch::randn({2, 3, 4});
  for (const auto distance : {Distance::kl, Distance::cross_entropy, Distance::mse}) {
    check_zero("logits", find_task(TaskType::masked_lm).teacher_loss(student, teacher, labels, mask, 2.0, distance),
               student);
  }
  check_zero("hidden", hidden_loss(student, teacher, mask), student);
  check_zero("relations", relation_loss(student, teacher, mask, 2), student);
  check_zero("answers",
             find_task(TaskType::question_answering)
                 .teacher_loss(student.slice(2, 0, 2), teacher.slice(2, 0, 2), {}, mask, 2.0, Distance::mse),
             student);
}

TEST_CASE("several teachers are learnt from by their weights") {
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto student = tiny_model();
  const auto loss = [] { return DistillationLoss({{.type = LossType::logits}}, tiny_shape, tiny_shape); };
  const auto logits = [](double scale) {
    return TeacherOutputs{.logits = scale * torch::arange(3 * 64, torch::kFloat).view({64, 3}).remainder(7)};
  };
  const auto one = [&](double scale) {
    return DistillObjective(student, {{.loss = loss(), .outputs = logits(scale)}}).loss(batch).item<double>();
  };
  DistillObjective both(student, {{.loss = loss(), .outputs = logits(1.0), .weight = 3.0},
                                  {.loss = loss(), .outputs = logits(-1.0), .weight = 1.0}});
  CHECK(both.loss(batch).item<double>() == Approx(0.75 * one(1.0) + 0.25 * one(-1.0)).epsilon(1e-5));
}

TEST_CASE("a student of smaller layers has evenly spaced weights of the teacher, heads whole") {
  auto teacher = tiny_model();
  auto student = select_weights(teacher, {.hidden_size = 16, .num_attention_heads = 2, .intermediate_size = 32});
  const auto& from = *teacher->encoder->layers[1];
  const auto& to = *student->encoder->layers[1];
  const auto heads = from.heads(), size = from.head_size();
  REQUIRE(to.heads() == 2);
  REQUIRE(to.linear(Role::query)->weight.size(1) == 16);
  const auto second = heads / 2;  // the head that became number 1
  for (const int64_t row : {int64_t{0}, size - 1}) {
    CHECK(torch::equal(to.linear(Role::query)->weight[size + row],
                       from.linear(Role::query)->weight[second * size + row].slice(0, 0, 32, 2)));
    CHECK(torch::equal(to.linear(Role::attention_output)->weight.slice(0, 3, 4).squeeze(0)[size + row],
                       from.linear(Role::attention_output)->weight[6][second * size + row]));
  }
  CHECK(to.linear(Role::up)->weight.size(0) == 32);
  CHECK(torch::equal(student->encoder->embeddings->norm->weight,
                     teacher->encoder->embeddings->norm->weight.slice(0, 0, 32, 2)));
  const at::NoGradGuard no_grad;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  CHECK(student->forward(batch).logits.isfinite().all().item<bool>());
  CHECK_THROWS_WITH(select_weights(teacher, {.hidden_size = 33}),
                    "student.hidden_size: found 33, expected 1 to 32, which the model has");
}

TEST_CASE("kept logits are found again, and the folder stays within its size") {
  const TemporaryFolder folder;
  const auto logits = [](float value) {  // 4,000 bytes
    return TeacherCache::Tensors{{"logits", torch::full({100, 10}, value)}};
  };
  const TeacherCache cache(folder.path() / "cache", 10'000);
  const std::string a(32, 'a'), b(32, 'b'), c(32, 'c'), d(32, 'd');  // hashes in hexadecimal
  std::filesystem::create_directories(folder.path() / "cache");
  const auto of_others = folder.path() / "cache/teacher-large.safetensors";  // takes no room and stays
  write_file(of_others, std::string(9'000, 'x'));
  std::filesystem::last_write_time(of_others, std::filesystem::file_time_type::clock::now() - std::chrono::hours(9));
  CHECK_FALSE(cache.find(a));
  CHECK(cache.keep(a, logits(1)));
  CHECK(cache.keep(b, logits(2)));
  const auto set_age = [&](const std::string& key, int hours) {
    std::filesystem::last_write_time(cache.file(key),
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  set_age(a, 2);
  set_age(b, 1);
  REQUIRE(cache.find(a));  // used just now
  CHECK(cache.find(a)->at("logits").equal(logits(1).at("logits")));
  CHECK(cache.keep(c, logits(3)));
  CHECK(cache.find(a));
  CHECK_FALSE(cache.find(b));
  CHECK(cache.find(c)->at("logits").equal(logits(3).at("logits")));
  CHECK_FALSE(cache.keep(d, {{"logits", torch::zeros({10'000})}}));
  {
    std::fstream file(cache.file(c), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-2, std::ios::end);
    file.put('\x42');
  }
  CHECK_FALSE(cache.find(c));  // another number than what was kept
  CHECK(cache.keep(c, logits(3)));
  std::filesystem::resize_file(cache.file(c), 200);
  CHECK_FALSE(cache.find(c));
  CHECK_FALSE(std::filesystem::exists(cache.file(c)));
  CHECK(std::filesystem::file_size(of_others) == 9'000);
  CHECK_THROWS_AS(TeacherCache(cache.file(a), 10'000).keep("x", logits(1)), StorageError);
}

TEST_CASE("runs that share kept logits write one at a time, and what a killed one left goes") {
  const TemporaryFolder folder;
  const TeacherCache cache(folder.path(), 10'000);
  const std::string a(32, 'a'), b(32, 'b');
  const TeacherCache::Tensors logits{{"logits", torch::ones({2, 3})}};
  const auto left = cache.file(a).string() + ".partial", of_others = (folder.path() / "teacher-x.partial").string();
  write_file(left, "half");
  write_file(of_others, "theirs");
  {
    const FolderLock other(folder.path());
    CHECK_THROWS_WITH(cache.keep(b, logits), folder.path().string() + ": another run is at work in this folder");
    CHECK(std::filesystem::exists(left));
  }
  CHECK(cache.keep(b, logits));
  CHECK(cache.find(b)->at("logits").equal(logits.at("logits")));
  CHECK_FALSE(std::filesystem::exists(left));
  CHECK(std::filesystem::exists(of_others));
}

TEST_CASE("a teacher's kept outputs are what it says, for texts in any order and padded anew") {
  auto teacher = tiny_model();
  teacher->eval();
  auto all = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto texts = all.size();
  const OneBatch source(all);
  const auto context = quiet_context({});
  const auto outputs = teacher_outputs(teacher, /*hidden_states=*/true, source, std::nullopt, context);
  const auto tokens = all.attention_mask().sum().item<int64_t>();
  REQUIRE(tokens < all.attention_mask().numel());  // there is padding
  CHECK(outputs.hidden_states.sizes() == at::IntArrayRef({tokens, 4, 32}));
  CHECK(teacher_output_bytes(teacher->config(), true, source) ==
        static_cast<int64_t>(outputs.logits.nbytes() + outputs.hidden_states.nbytes() + outputs.begin.nbytes()));

  const at::NoGradGuard no_grad;
  const auto order = torch::arange(texts).flip(0);
  Batch batch;
  for (const auto* name : {"input_ids", "attention_mask", "token_type_ids"}) {
    batch[name] = torch::constant_pad_nd(all.at(name).index_select(0, order), {0, 3});
  }
  batch.examples = order;
  const auto kept = TeacherOutputs::from_tensors(outputs.tensors()).of(batch);
  const auto expected = teacher->forward(batch, {.hidden_states = true});
  check_close(kept.logits, expected.logits, 1e-5);
  REQUIRE(kept.hidden_states.size() == expected.hidden_states.size());
  const auto mask = batch.attention_mask().unsqueeze(-1);
  for (size_t i = 0; i < kept.hidden_states.size(); ++i) {
    check_close(kept.hidden_states[i] * mask, expected.hidden_states[i] * mask, 4e-3);
  }
  batch.attention_mask()[0][0] = 0;
  CHECK_THROWS_WITH(outputs.of(batch), Catch::Contains("other tokens"));

  const auto logits = teacher_outputs(teacher, false, source, std::nullopt, context);
  CHECK_FALSE(logits.hidden_states.defined());
  check_close(logits.logits, outputs.logits, 1e-6);
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
  const auto message = message_of<ConfigError>(
      [] { DistillationLoss({{.type = LossType::attentions, .layers = {{{0, 3}}}}}, tiny_shape, tiny_shape); });
  CHECK_THAT(message, Catch::Contains("[0, 3]") && Catch::Contains("teacher 0 to 2"));
}

TEST_CASE("a student has the layers that were chosen, in that order") {
  auto teacher = tiny_model();
  auto student = keep_layers(teacher, {2, 0});
  REQUIRE(student->config().layers.size() == 2);
  CHECK(torch::equal(student->encoder->layers[0]->linear(Role::query)->weight,
                     teacher->encoder->layers[2]->linear(Role::query)->weight));
  CHECK(torch::equal(student->encoder->layers[1]->linear(Role::down)->bias,
                     teacher->encoder->layers[0]->linear(Role::down)->bias));
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
  DistillObjective objective(student, {{teacher, DistillationLoss(losses, {2, 32}, tiny_shape)}});
  const TemporaryFolder folder;
  auto context = quiet_context(folder.path());
  const TrainConfig config{.epochs = 30, .learning_rate = 3e-3, .precision = Precision::float32};
  student->set_dropout(0.0, 0.0);
  student->head->dropout = 0.0;
  const auto logits = [&](const Batch& b) { return student->forward(b).logits; };
  train(*student, objective, source, config, [&] { return evaluate(logits, source, context); }, context);
  CHECK(distance() < 0.5 * at_first);
  CHECK(torch::equal(before, teacher->head->classifier->weight));
}

TEST_CASE("kept teacher logits train as a teacher that runs does") {
  auto teacher = tiny_model();
  auto student = keep_layers(teacher, {1});
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto loss = [] { return DistillationLoss({{.type = LossType::logits}}, {1, 32}, tiny_shape); };
  const at::NoGradGuard no_grad;
  DistillObjective live(student, {{teacher, loss()}}),
      kept(student, {{teacher, loss(), TeacherOutputs{.logits = teacher->forward(batch).logits}}});
  check_close(kept.loss(batch), live.loss(batch), 1e-6);
}

}  // namespace
}  // namespace compression::distill
