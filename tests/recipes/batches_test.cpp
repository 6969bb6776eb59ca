// What a number is must not depend on which texts share a batch: losses and gradients of steps, of fine-tuning and of
// distillation, scores, metrics, statistics and what is fitted, of every task, against PyTorch one text at a time.

#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/task/task.h"
#include "compress/train/trainer.h"
#include "datasets/answers.h"
#include "distill/objective.h"
#include "prune/cut.h"
#include "prune/hidden.h"
#include "prune/importance.h"
#include "prune/reconstruct.h"
#include "quantize/bias_correction.h"
#include "quantize/calibrate.h"
#include "quantize/smooth.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using torch::Tensor;

/// How texts are dealt out to batches.
struct Deal {
  const char* name;
  int64_t batch_size;
  bool reversed = false;
  int64_t padding = 0;  // columns beside the longest
};
const std::vector<Deal> deals = {
    {"in one batch", 6},      {"one at a time", 1},          {"in twos", 2},
    {"in fours", 4},          {"in another order", 4, true}, {"beside longer texts", 6, false, 2},
    {"all of it", 3, true, 1}};

/// Texts in memory, padded to the longest of their batch.
class Dealt : public BatchSource {
 public:
  Dealt(Batch all, TaskHead head, const Deal& deal) : all_(std::move(all)), head_(std::move(head)), deal_(deal) {
    if (head_.task == TaskType::embedding) together_ = 2;
  }
  int64_t size() const override { return all_.size(); }
  std::vector<std::vector<int64_t>> plan(int64_t) const override {
    std::vector<std::vector<int64_t>> plan;
    const auto groups = size() / together_;
    for (int64_t i = 0; i < groups; ++i) {
      if (i % deal_.batch_size == 0) plan.emplace_back();
      const auto group = deal_.reversed ? groups - 1 - i : i;
      for (int64_t k = 0; k < together_; ++k) plan.back().push_back(group * together_ + k);
    }
    return plan;
  }
  Batch collate(std::span<const int64_t> examples, int64_t = 0) const override {
    const auto rows = torch::tensor(std::vector<int64_t>(examples.begin(), examples.end()));
    const auto longest = all_.attention_mask().index_select(0, rows).sum(1).max().item<int64_t>();
    const auto pick = [&](const Tensor& t, int64_t filler) {
      if (!t.defined()) return t;
      const auto own = t.index_select(0, rows);
      if (t.dim() < 2 || t.size(1) != all_.input_ids().size(1)) return own;
      return torch::constant_pad_nd(own.slice(1, 0, longest), {0, deal_.padding}, filler);
    };
    return text_batch(pick(all_.input_ids(), 0), pick(all_.attention_mask(), 0), pick(all_.token_type_ids(), 0),
                      pick(all_.labels(), ignored_label), rows);
  }
  std::unique_ptr<Scorer> scorer() const override {
    if (head_.task == TaskType::question_answering) return datasets::make_answer_scorer(windows(), Metric::f1);
    return make_scorer(head_, default_metric(head_));
  }

 private:
  /// Every token is a letter of the context, and the answers are the labels.
  std::shared_ptr<const Windows> windows() const {
    const auto windows = std::make_shared<Windows>();
    for (int64_t i = 0; i < size(); ++i) {
      std::string context;
      auto& tokens = windows->tokens.emplace_back();
      for (int64_t t = 0; t < all_.attention_mask()[i].sum().item<int64_t>(); ++t) {
        tokens.push_back({t, t + 1});
        context += static_cast<char>('b' + t);
      }
      const auto begin = static_cast<size_t>(all_.labels()[i][0].item<int64_t>());
      const auto end = static_cast<size_t>(all_.labels()[i][1].item<int64_t>());
      windows->question.push_back(static_cast<size_t>(i));
      windows->answers.push_back({context.substr(begin, end + 1 - begin)});
      windows->contexts.push_back(std::move(context));
    }
    return windows;
  }

  Batch all_;
  TaskHead head_;
  Deal deal_;
  int64_t together_ = 1;
};

/// A task's small model and texts.
struct Case {
  TaskType task;
  Model model{nullptr};
  Batch texts;
  std::map<std::string, Tensor> expected;  // by PyTorch; empty where there is no golden file

  explicit Case(TaskType type) : task(type) {
    const std::string name(enum_name(task));
    const bool of_text = task == TaskType::multi_label || task == TaskType::regression;
    const auto file = fmt::format("batches/{}.safetensors", of_text ? "token_classification" : name);
    const auto tensors = golden_tensors(file);
    texts = golden_batch(tensors);
    if (!of_text) expected = tensors;
    at::manual_seed(3);
    if (of_text || task == TaskType::classification) {
      const TaskHead head{of_text && task == TaskType::regression ? std::vector<std::string>{"LABEL_0"}
                                                                  : std::vector<std::string>{"x", "y", "z"},
                          task};
      const auto small = golden("model/heads/bert.token_classification");
      model = of_text ? load_model(small, {.head = head, .new_head = true}).model : tiny_model();
      if (task == TaskType::multi_label) texts["labels"] = torch::rand({texts.size(), 3}).gt(0.5).to(torch::kFloat);
      if (task == TaskType::regression) texts["labels"] = torch::randn({texts.size()});
    } else {
      model = load_model(golden("model/heads/bert." + name)).model;
    }
    model->set_dropout(0.0, 0.0);
  }

  TaskHead head() const { return {model->config().labels, task}; }
  Dealt dealt(const Deal& deal) const { return {texts, head(), deal}; }
  std::vector<Deal> own_deals() const {
    auto all = deals;
    if (model->config().max_length() < texts.input_ids().size(1) + 2) {
      for (auto& deal : all) deal.padding = std::min<int64_t>(deal.padding, 0);
    }
    return all;
  }
};

std::vector<TaskType> all_tasks() {
  std::vector<TaskType> all;
  for (const auto& [task, name] : enum_names(TaskType{})) all.push_back(task);
  return all;
}

struct FirstStep {
  double loss = 0.0, norm = 0.0;
  std::map<std::string, Tensor> gradients;
};

/// The first step of a training that accumulates all batches, at a rate of 0, and the gradients that it takes.
FirstStep first_step(Model& model, Objective& objective, const BatchSource& source) {
  const TemporaryFolder folder;
  auto context = quiet_context(folder.path());
  const TrainConfig config{.epochs = 1,
                           .learning_rate = 0.0,
                           .max_grad_norm = 0.0,
                           .gradient_accumulation = static_cast<int64_t>(source.plan(0).size()),
                           .precision = Precision::float32,
                           .log_every = 1,
                           .max_rollbacks = 0};
  FirstStep step;
  context.progress = [&](int64_t, int64_t, std::string_view) {};
  train(*model, objective, source, config, [] { return Evaluation{}; }, context);
  std::ifstream in(folder / "metrics.jsonl");
  std::string line;
  std::getline(in, line);
  const auto json = nlohmann::json::parse(line);
  step.loss = json.at("loss");
  step.norm = json.at("gradient_norm");

  std::vector<double> counts;
  for (const auto& examples : source.plan(0)) {
    const auto own = objective.counts(source.collate(examples));
    counts.resize(own.size());
    for (size_t i = 0; i < own.size(); ++i) counts[i] += own[i];
  }
  model->zero_grad();
  for (const auto& examples : source.plan(0)) objective.part(source.collate(examples), counts).backward();
  for (const auto& p : model->named_parameters()) {
    if (p.value().grad().defined()) step.gradients[p.key()] = p.value().grad().to_dense().clone();
  }
  model->zero_grad();
  return step;
}

void check_near(double found, double expected) {
  CHECK(found == Approx(expected).epsilon(2e-5).margin(2e-6));
}

void check_same_step(const FirstStep& found, const FirstStep& expected) {
  check_near(found.loss, expected.loss);
  CHECK(found.norm == Approx(expected.norm).epsilon(1e-4).margin(1e-5));
  const double tolerance = 1e-4 * std::max(expected.norm, 0.1);
  for (const auto& [name, gradient] : expected.gradients) {
    INFO(name);
    check_close(found.gradients.at(name), gradient, tolerance);
  }
}

/// Equal up to rounding of float32, relative to the largest.
void check_same_numbers(const Tensor& found, const Tensor& expected, double tolerance = 2e-5) {
  check_close(found, expected, tolerance * std::max(expected.abs().max().item<double>(), 1e-3));
}

TEST_CASE("a step's loss and gradient are the mean over all that it counts, as PyTorch's, in whatever batches") {
  const auto task = GENERATE(from_range(all_tasks()));
  Case tiny(task);
  const auto fused = GENERATE(std::optional<Arithmetic>(), std::optional(Arithmetic::float32));
  tiny.model->set_fused(fused);
  LabelObjective objective(tiny.model);
  const auto whole = first_step(tiny.model, objective, tiny.dealt(deals.front()));
  if (!tiny.expected.empty()) {
    INFO(enum_name(task) << " against PyTorch");
    check_near(whole.loss, tiny.expected.at("loss").item<double>());
    check_near(whole.norm, tiny.expected.at("gradient_norm").item<double>());
    const std::string layer = "bert.encoder.layer.0.";
    check_same_numbers(whole.gradients.at(layer + "attention.self.query.weight"), tiny.expected.at("query"));
    check_same_numbers(whole.gradients.at(layer + "intermediate.dense.weight"), tiny.expected.at("intermediate"));
  }
  for (const auto& deal : tiny.own_deals()) {
    INFO(enum_name(task) << " " << deal.name << (fused ? ", fused" : ""));
    check_same_step(first_step(tiny.model, objective, tiny.dealt(deal)), whole);
  }
}

/// Every loss with every distance, and their sum.
std::vector<std::vector<distill::LossConfig>> every_loss(TaskType task) {
  using namespace distill;
  std::vector<std::vector<LossConfig>> all;
  std::vector<LossConfig> sum;
  for (const auto& [type, name] : enum_names(LossType{})) {
    auto known = distances(type);
    if (known.empty()) known.push_back(Distance::kl);
    for (const auto distance : known) {
      LossConfig config{.type = type};
      if (!distances(type).empty()) config.distance = distance;
      all.push_back({config});
      config.weight = 0.3 + 0.1 * static_cast<double>(sum.size());
      sum.push_back(config);
    }
  }
  all.push_back({{.type = LossType::hidden_states, .layer_map = LayerMap::minimum_distance}});
  all.push_back(sum);
  if (task == TaskType::classification) all.push_back({{.type = LossType::logits}, {.type = LossType::labels}});
  return all;
}

TEST_CASE("every loss of distillation is the same in whatever batches") {
  const auto task = GENERATE(from_range(all_tasks()));
  Case tiny(task);
  auto teacher = copy(tiny.model);
  {
    const at::NoGradGuard no_grad;
    for (auto& p : teacher->parameters()) p.add_(0.1 * torch::randn_like(p));
  }
  for (auto& p : teacher->parameters()) p.requires_grad_(false);
  const auto shape = distill::shape_of(tiny.model);
  for (const auto& losses : every_loss(task)) {
    if (losses.size() == 2) tiny.texts.labels()[1] = ignored_label;  // texts without labels
    std::optional<FirstStep> whole;
    for (const auto& deal : tiny.own_deals()) {
      if (deal.batch_size == 2 || deal.batch_size == 3) continue;
      INFO(enum_name(task) << ", " << enum_name(losses.front().type) << ", distance "
                           << enum_name(losses.front().distance.value_or(Distance::kl)) << " and " << losses.size() - 1
                           << " more, " << deal.name);
      distill::DistillObjective objective(
          tiny.model, {{.model = teacher, .loss = distill::DistillationLoss(losses, shape, shape, task)}});
      const auto step = first_step(tiny.model, objective, tiny.dealt(deal));
      CHECK(step.loss > 0.0);
      if (!whole) whole = step;
      check_same_step(step, *whole);
    }
  }
}

TEST_CASE("scores of single texts equal PyTorch's of each text's own mean loss, in whatever batches") {
  const auto task = GENERATE(from_range(all_tasks()));
  Case tiny(task);
  LabelObjective objective(tiny.model);
  const auto context = quiet_context({});
  for (const auto method : {prune::ImportanceMethod::first_order, prune::ImportanceMethod::fisher}) {
    const std::string name(enum_name(method));
    std::vector<Tensor> whole;
    for (const auto& deal : tiny.own_deals()) {
      INFO(enum_name(task) << ", " << name << ", " << deal.name);
      const auto source = tiny.dealt(deal);
      auto found = prune::score_units(tiny.model, objective, source, context, {method, /*per_text=*/true});
      std::vector<Tensor> scores;
      for (const auto& group : found) scores.push_back(group.scores);
      scores.push_back(prune::hidden_scores(tiny.model, source, context, method, /*per_text=*/true));
      if (whole.empty()) {
        for (size_t i = 0; i < scores.size(); ++i) {
          const auto key = name + "." + (i + 1 < scores.size() ? std::to_string(i) : std::string("hidden"));
          whole.push_back(tiny.expected.empty() ? scores[i] : tiny.expected.at(key));
        }
      }
      for (size_t i = 0; i < scores.size(); ++i) check_same_numbers(scores[i], whole[i], 1e-4);
    }
  }
  std::vector<Tensor> surgeon;
  for (const auto& deal : tiny.own_deals()) {
    INFO(enum_name(task) << ", surgeon, " << deal.name);
    const auto scores = prune::score_units(tiny.model, objective, tiny.dealt(deal), context,
                                           {.method = prune::ImportanceMethod::surgeon});
    for (size_t i = 0; i < scores.size(); ++i) {
      if (surgeon.size() == i) surgeon.push_back(scores[i].scores);
      CHECK(scores[i].scores.max().item<double>() > 0.0);
      check_same_numbers(scores[i].scores, surgeon[i], 1e-3);
    }
  }
}

TEST_CASE("metrics and the loss of an evaluation are the same in whatever batches") {
  const auto task = GENERATE(from_range(all_tasks()));
  Case tiny(task);
  std::optional<Evaluation> whole;
  for (const auto& deal : tiny.own_deals()) {
    INFO(enum_name(task) << " " << deal.name);
    const auto reached = evaluate([&](const Batch& batch) { return tiny.model->forward(batch).logits; },
                                  tiny.dealt(deal), quiet_context({}));
    if (!whole) whole = reached;
    if (!tiny.expected.empty()) check_near(reached.loss, tiny.expected.at("loss").item<double>());
    check_near(reached.loss, whole->loss);
    CHECK(reached.total == whole->total);
    REQUIRE(reached.values.size() == whole->values.size());
    for (const auto& [metric, value] : whole->values) {
      INFO(enum_name(metric));
      check_near(reached.values.at(metric), value);
    }
  }
}

TEST_CASE("statistics of calibration, and what is fitted to texts, are the same in whatever batches") {
  const auto task = GENERATE(from_range(all_tasks()));
  const Case tiny(task);
  const auto context = quiet_context({});
  std::map<std::string, Tensor> whole;
  const auto check = [&](const std::string& what, const Tensor& found, double tolerance) {
    INFO(what);
    const auto [first, is_first] = whole.emplace(what, found.detach().clone());
    if (!is_first) check_same_numbers(found, first->second, tolerance);
  };
  for (const auto& deal : tiny.own_deals()) {
    INFO(enum_name(task) << " " << deal.name);
    const auto texts = tiny.dealt(deal);
    for (const auto& [kind, name] : enum_names(quantize::ObserverKind{})) {
      if (kind == quantize::ObserverKind::moving_average) continue;  // of which the order is the point
      // Entropy and mse take long, and count as percentile does.
      const bool long_one = kind == quantize::ObserverKind::entropy || kind == quantize::ObserverKind::mse;
      if (long_one && (task != TaskType::masked_lm || (deal.batch_size != 6 && deal.batch_size != 3))) continue;
      auto model = copy(tiny.model);
      for (const auto& [layer, scale] : quantize::calibrate(model, {}, {kind, 99.0}, texts, context)) {
        check(fmt::format("{} of {}", name, layer), torch::tensor({scale}), 1e-4);
      }
    }
    auto smoothed = copy(tiny.model);
    for (const auto& layer : quantize::smooth(smoothed, {}, {}, std::nullopt, texts, context)) {
      check("smoothing of " + layer.layer, torch::tensor({layer.strength, layer.error, layer.before}), 1e-3);
    }
    auto corrected = copy(tiny.model);
    quantize::quantize(corrected, {});
    auto original = copy(tiny.model);
    quantize::correct_biases(corrected, original, texts, context);
    for (const auto& [name, linear] : corrected->named_linears()) check("bias of " + name, linear->bias, 1e-4);

    for (const auto method : {prune::Reconstruction::rescale, prune::Reconstruction::layerwise}) {
      auto pruned = copy(tiny.model);
      std::vector<Tensor> kept;
      for (const auto& group : pruned->prunable_units()) kept.push_back(torch::arange(0, group.count, 2));
      prune::cut_units(*pruned, kept);
      prune::reconstruct(pruned, original, kept, texts, method, 1e-1, context);
      for (const auto& [name, linear] : pruned->named_linears()) {
        check(fmt::format("{} of {}", enum_name(method), name), linear->weight, 1e-3);
      }
    }
  }
}

TEST_CASE("where no text has a label there is nothing to score on") {
  Case tiny(TaskType::token_classification);
  tiny.texts["labels"] = torch::full_like(tiny.texts.labels(), ignored_label);
  LabelObjective objective(tiny.model);
  const auto source = tiny.dealt(deals[2]);
  const auto context = quiet_context({});
  for (const bool per_text : {false, true}) {
    CHECK_THROWS_AS(prune::score_units(tiny.model, objective, source, context, {.per_text = per_text}), DataError);
    CHECK_THROWS_AS(prune::hidden_scores(tiny.model, source, context, prune::ImportanceMethod::first_order, per_text),
                    DataError);
  }
}

}  // namespace
}  // namespace compression
