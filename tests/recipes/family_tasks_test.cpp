// Every stage's algorithm on every model family with every task: what docs/models.md's table says was run. With
// $COMPRESS_STAGES_RUN, a file, each combination that a passing run went through is a line of it.
#include "compress/base/error.h"
#include "compress/model/autocast.h"
#include "compress/state_dict/state_dict.h"
#include "compress/task/task.h"
#include "compress/train/precision.h"  // autocast_dtype, fused_arithmetic
#include "compress/train/trainer.h"
#include "distill/objective.h"
#include "distill/student.h"
#include "export/model_script.h"
#include "prune/cut.h"
#include "quantize/convert.h"
#include "tests/support.h"

#include <cstdlib>

namespace compression {
namespace {

using namespace testing;

std::vector<TaskType> all_tasks() {
  std::vector<TaskType> tasks;
  for (const auto& [task, name] : enum_names(TaskType{})) tasks.push_back(task);
  return tasks;
}

TaskHead head_of(TaskType task) {
  switch (task) {
    case TaskType::classification:
    case TaskType::multi_label:
    case TaskType::token_classification:
      return {{"a", "b", "c"}, task};
    case TaskType::regression:
      return {{"LABEL_0"}, task};
    default:
      return {{}, task};
  }
}

/// BERT's golden model is the tiny one.
std::vector<std::string> all_families() {
  auto names = family_names();
  names.insert(names.begin(), "bert");
  return names;
}

std::string golden_of(const std::string& family) {
  return family == "bert" ? "model/tiny" : "model/families/" + family;
}

/// Labels of the task for the texts of a family's golden batch.
torch::Tensor labels_for(TaskType task, const Batch& batch, const ModelConfig& config) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
  const auto random = [&](int64_t count, at::IntArrayRef sizes) {
    return torch::randint(0, count, sizes, generator, torch::kLong);
  };
  const auto sizes = batch.input_ids().sizes();
  switch (task) {
    case TaskType::classification:
      return batch.labels();
    case TaskType::multi_label:
      return random(2, {sizes[0], 3}).to(torch::kFloat);
    case TaskType::regression:
      return random(5, {sizes[0]}).to(torch::kFloat) - 2;
    case TaskType::embedding:
      return (random(2, {sizes[0] / 2}).to(torch::kFloat) - 0.3).repeat_interleave(2);
    case TaskType::question_answering: {
      const auto last = batch.attention_mask().sum(1) - 1;
      return torch::stack({torch::ones_like(last), last}, 1);
    }
    case TaskType::token_classification:
    case TaskType::masked_lm: {
      const auto count = task == TaskType::masked_lm ? config.vocab_size : 3;
      const auto chosen = random(3, sizes).eq(0).logical_and(batch.attention_mask().eq(1));
      return torch::where(chosen, random(count, sizes), torch::full(sizes, ignored_label, torch::kLong));
    }
  }
  throw std::logic_error("task");
}

/// What a training's products are made with, as a recipe says it.
struct Arithmetics {
  const char* name;
  TrainConfig config;
  double least_cosine;  // of a gradient with float32's

  static std::vector<Arithmetics> all() {
    return {{"fp32", {.precision = Precision::float32}, 0.9999},
            {"fp32, unfused", {.precision = Precision::float32, .fused = false}, 0.9999},
            {"int16", {.precision = Precision::int16}, 0.98},
            {"bf16", {.precision = Precision::bfloat16}, 0.6},
            {"bf16, unfused", {.precision = Precision::bfloat16, .fused = false}, 0.6},
            {"fp16", {.precision = Precision::float16}, 0.98},
            {"fp16, unfused", {.precision = Precision::float16, .fused = false}, 0.98}};
  }
};

/// A family's golden model with the task's head, and a labelled batch.
struct Subject {
  std::string name = GENERATE(from_range(all_families()));
  TaskType task = GENERATE(from_range(all_tasks()));
  Model model{nullptr};
  Batch batch = golden_batch(golden_tensors(golden_of(name) + ".safetensors"));

  Subject() {
    at::manual_seed(3);
    model = load_model(golden(golden_of(name)), {.head = head_of(task), .new_head = true}).model;
    batch["labels"] = labels_for(task, batch, model->config());
    if (!batch.token_type_ids().defined()) batch["token_type_ids"] = torch::zeros_like(batch.input_ids());
  }

  Batch unlabelled() const {
    auto copy = batch;
    copy["labels"] = torch::Tensor();
    return copy;
  }

  /// Zero where there is padding.
  torch::Tensor logits(Model& of) const {
    const at::NoGradGuard no_grad;
    const auto all = of->forward(unlabelled()).logits;
    return all.dim() < 3 ? all : all * batch.attention_mask().unsqueeze(-1);
  }

  double loss(Model& of) const {
    const at::NoGradGuard no_grad;
    return find_task(task).label_loss(of->forward(batch).logits, batch.labels(), batch.attention_mask()).item<double>();
  }

  /// Saved, read again, exported, loaded: the same logits.
  void check_written(Model& of) const {
    const TemporaryFolder folder;
    save_model(of, *load_tokenizer(golden("model/tiny")), folder.path());
    auto again = load_model(folder.path(), {.head = head_of(task)}).model;
    check_close(logits(again), logits(of), 0.0);
    exporter::save_script(exporter::model_script(of), folder / "model.pt");
    const auto file =
        exporter::script_logits(exporter::load_script(folder / "model.pt"),
                                {.name = "model.pt", .head = TaskHead{of->config().labels, of->config().task}});
    auto portable = exporter::as_runtime(of, exporter::Runtime::portable);
    const c10::InferenceMode inference;
    const auto from_file = file(batch);
    check_close(from_file.dim() < 3 ? from_file : from_file * batch.attention_mask().unsqueeze(-1), logits(portable),
                2e-5);
    const auto one = text_batch(batch.input_ids().slice(1, 0, 3).slice(0, 0, 1).contiguous(),
                                torch::ones({1, 3}, torch::kLong), torch::zeros({1, 3}, torch::kLong));
    check_close(file(one), portable->forward(one).logits, 2e-5);
    exporter::save_script(exporter::model_script(of, exporter::Runtime::fused), folder / "fused.pt");
    const auto fused = exporter::script_logits(exporter::load_script(folder / "fused.pt"),
                                               {.name = "fused.pt", .head = TaskHead{of->config().labels, task}});
    // With fewer bits the folder and the file are the same arithmetic.
    const bool same = of->config().linear_format != WeightFormat::float32;
    const auto from_fused = fused(batch);
    check_close(from_fused.dim() < 3 ? from_fused : from_fused * batch.attention_mask().unsqueeze(-1), logits(of),
                same ? 0.0 : 2e-3);
  }

  /// A few steps with an arithmetic; the objective's loss before and after.
  std::pair<double, double> train_few(Model& student, Objective& objective, TrainConfig config,
                                      int64_t steps = 16) const {
    const TemporaryFolder folder;
    auto context = quiet_context(folder.path());
    const OneBatch source(batch);
    const auto loss_now = [&] {
      const at::NoGradGuard no_grad;
      student->eval();
      return objective.loss(batch).item<double>();
    };
    const double before = loss_now();
    config.epochs = steps;
    config.learning_rate = 1.5e-3;
    student->set_fused(fused_arithmetic(config, torch::kCPU));
    student->set_dropout(0.0, 0.0);  // its noise is as large as what some students have to learn
    student->head->dropout = 0.0;
    at::manual_seed(1);
    train(*student, objective, source, config, [&] { return Evaluation{.loss = loss_now()}; }, context);
    student->set_fused(std::nullopt);
    return {before, loss_now()};
  }

  /// What no student's loss is below.
  double loss_to_itself(Model& teacher, const std::vector<distill::LossConfig>& losses) const {
    const at::NoGradGuard no_grad;
    const distill::DistillationLoss loss(losses, distill::shape_of(teacher), distill::shape_of(teacher), task);
    return distill::DistillObjective(teacher, {{teacher, loss}}).loss(batch).item<double>();
  }

  void passed(const char* stage) const {
    if (const char* file = std::getenv("COMPRESS_STAGES_RUN")) {
      std::ofstream(file, std::ios::app) << name << ' ' << enum_name(task) << ' ' << stage << '\n';
    }
  }
};

/// What one step's backward pass gives, all parameters in a row.
torch::Tensor gradient_of(Model& model, Objective& objective, const Batch& batch, const TrainConfig& config) {
  model->zero_grad();
  for (const auto& p : objective.parameters()) p.mutable_grad().reset();
  model->set_fused(fused_arithmetic(config, torch::kCPU));
  model->set_recompute(config.recompute_activations);
  torch::Tensor loss;
  {
    const Autocast autocast(autocast_dtype(config.precision), torch::kCPU);
    loss = objective.loss(batch);
  }
  CHECK(loss.scalar_type() == torch::kFloat);
  const double scale = config.precision == Precision::float16 ? 1024.0 : 1.0;
  (loss * scale).backward();
  std::vector<torch::Tensor> all;
  for (const auto& p : model->parameters()) {
    all.push_back((p.grad().defined() ? p.grad().to_dense() : torch::zeros_like(p)).flatten());
  }
  for (const auto& p : objective.parameters()) all.push_back(p.grad().flatten());
  return torch::cat(all) / scale;
}

/// The same gradient from every arithmetic, kept or recomputed, as near as its bits allow: an activation that bfloat16
/// rounds to the other side of 0, before a ReLU, changes much in so small a model.
void check_gradients(Model& model, Objective& objective, const Batch& batch) {
  model->train();
  model->set_dropout(0.0, 0.0);
  model->head->dropout = 0.0;
  torch::Tensor expected;
  for (auto [name, config, least_cosine] : Arithmetics::all()) {
    for (const bool recompute : {false, true}) {
      INFO(name << (recompute ? ", recomputed" : ""));
      config.recompute_activations = recompute;
      const auto found = gradient_of(model, objective, batch, config);
      if (!expected.defined()) expected = found;
      CHECK((found.dot(expected) / (found.norm() * expected.norm())).item<double>() > least_cosine);
      CHECK((found.norm() / expected.norm()).item<double>() == Approx(1.0).epsilon(2 * (1.0 - least_cosine)));
    }
  }
}

TEST_CASE("every family has the gradients of every task in every precision") {
  const Subject subject;
  INFO(subject.name << " " << enum_name(subject.task));
  auto model = subject.model;
  LabelObjective objective(model);
  check_gradients(model, objective, subject.batch);
}

TEST_CASE("every family has the gradients of every distillation loss in every precision") {
  using namespace distill;
  const Subject subject;
  INFO(subject.name << " " << enum_name(subject.task));
  auto teacher = subject.model;
  auto student = keep_layers(teacher, {0});
  const auto own = shape_of(student), other = shape_of(teacher);
  for (const auto& losses :
       {std::vector<LossConfig>{
            {.type = LossType::logits}, {.type = LossType::hidden_states}, {.type = LossType::embeddings}},
        std::vector<LossConfig>{
            {.type = LossType::attentions}, {.type = LossType::relations}, {.type = LossType::labels}}}) {
    DistillObjective objective(student, {{teacher, DistillationLoss(losses, own, other, subject.task)}});
    check_gradients(student, objective, subject.batch);
  }
}

TEST_CASE("every family is trained in every precision, from the first step to the last") {
  const auto name = GENERATE(from_range(all_families()));
  const TemporaryFolder folder;
  auto context = quiet_context(folder.path());
  auto batch = golden_batch(golden_tensors(golden_of(name) + ".safetensors"));
  for (auto [kind, config, ignored] : Arithmetics::all()) {
    for (const bool recompute : {false, true}) {
      INFO(name << ", " << kind << (recompute ? ", recomputed" : ""));
      auto model =
          load_model(golden(golden_of(name)), {.head = head_of(TaskType::classification), .new_head = true}).model;
      LabelObjective objective(model);
      const OneBatch source(batch);
      config.epochs = 6;
      config.learning_rate = 3e-3;
      config.recompute_activations = recompute;
      model->set_dropout(0.0, 0.0);
      model->head->dropout = 0.0;
      model->set_fused(fused_arithmetic(config, torch::kCPU));
      model->set_recompute(recompute);
      const auto loss = [&] {
        const at::NoGradGuard no_grad;
        return objective.loss(batch).item<double>();
      };
      const double before = loss();
      train(*model, objective, source, config, [&] { return Evaluation{.loss = loss()}; }, context);
      CHECK(loss() < before);
    }
  }
}

TEST_CASE("every family is fine-tuned for every task") {
  const Subject subject;
  INFO(subject.name << " " << enum_name(subject.task));
  for (const auto& [name, config, ignored] : Arithmetics::all()) {
    INFO(name);
    auto model = copy(subject.model);
    LabelObjective objective(model);
    const auto [before, after] = subject.train_few(model, objective, config);
    CHECK(after < 0.9 * before);
    if (config.precision == Precision::int16) subject.check_written(model);
  }
  subject.passed("finetune");
  subject.passed("export");
  subject.passed("fused");
}

TEST_CASE("every family is distilled for every task") {
  using namespace distill;
  const Subject subject;
  INFO(subject.name << " " << enum_name(subject.task));
  auto teacher = subject.model;
  const auto last = static_cast<int64_t>(teacher->config().layers.size()) - 1;
  const std::vector<LossConfig> losses{{.type = LossType::logits}};
  const double least = subject.loss_to_itself(teacher, losses);  // the entropy of soft labels, where they are such
  for (const auto& [name, config, ignored] : Arithmetics::all()) {
    INFO(name);
    auto student = keep_layers(teacher, last == 1 ? std::vector<int64_t>{1} : std::vector<int64_t>{0, last});
    const DistillationLoss loss(losses, shape_of(student), shape_of(teacher), subject.task);
    DistillObjective objective(student, {{teacher, loss}});
    const auto [before, after] = subject.train_few(student, objective, config);
    CHECK(before > least);
    CHECK(after - least < 0.9 * (before - least));
    if (config.precision == Precision::int16) subject.check_written(student);
  }
  subject.passed("distill");
}

TEST_CASE("every family is pruned for every task: what is cut computes what the masks did") {
  const Subject subject;
  INFO(subject.name << " " << enum_name(subject.task));
  auto model = subject.model;
  LabelObjective objective(model);
  const OneBatch source(subject.batch);
  const auto importance = prune::score_units(model, objective, source, quiet_context({}));
  for (const auto& group : importance) CHECK(group.scores.max().item<float>() > 0.0f);
  const auto kept = prune::choose_units(importance, {.heads = 2, .intermediate_size = 20});
  prune::mask_units(*model, kept);
  const auto masked = subject.logits(model);
  prune::clear_masks(*model);
  prune::cut_units(*model, kept);
  check_close(subject.logits(model), masked, 1e-5);
  subject.check_written(model);
  for (const auto& [name, config, ignored] : Arithmetics::all()) {  // what was cut is trained again
    INFO(name);
    auto again = copy(model);
    LabelObjective of_again(again);
    const auto [before, after] = subject.train_few(again, of_again, config, 5);
    CHECK(after < before);
  }
  subject.passed("prune");
}

TEST_CASE("every family is quantized for every task") {
  const Subject subject;
  INFO(subject.name << " " << enum_name(subject.task));
  auto exact = subject.model;
  for (const auto& [scheme, format, tolerance] : {std::tuple(quantize::Scheme::int8_dynamic, WeightFormat::int8, 0.3),
                                                  std::tuple(quantize::Scheme::fp16, WeightFormat::float16, 0.01)}) {
    auto model = copy(exact);
    quantize::quantize(model, {.linear = quantize::format_of(scheme), .embeddings = format});
    const auto expected = subject.logits(exact);
    const double difference = ((subject.logits(model) - expected).norm() / expected.norm()).item<double>();
    CHECK(difference < tolerance);
    CHECK(difference > 1e-7);
    subject.check_written(model);
  }
  subject.passed("quantize");
}

}  // namespace
}  // namespace compression
