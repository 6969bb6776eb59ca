// Every stage's algorithm on every model family.
#include "compress/base/error.h"
#include "compress/spec/cost.h"
#include "compress/state_dict/state_dict.h"
#include "compress/train/trainer.h"
#include "distill/objective.h"
#include "distill/student.h"
#include "export/model_script.h"
#include "prune/cut.h"
#include "prune/heat_map.h"
#include "quantize/calibrate.h"
#include "quantize/convert.h"
#include "tests/support.h"

#include <cstdlib>

namespace compression {
namespace {

using namespace testing;

/// A family's golden model and its batch, and what the tests below do with a model in between stages.
struct Subject {
  std::string name = GENERATE(from_range(family_names()));
  Model model = load_model(golden("model/families/" + name)).model;
  Batch batch = golden_batch(golden_tensors("model/families/" + name + ".safetensors"));

  torch::Tensor logits(Model& of) const {
    const at::NoGradGuard no_grad;
    return of->forward(batch).logits;
  }

  /// Cuts, and what is left computes what the masked model did, whose logits are returned.
  torch::Tensor check_cut(Model& of, const std::vector<torch::Tensor>& kept) const {
    prune::mask_units(*of, kept);
    const auto masked = logits(of);
    prune::clear_masks(*of);
    prune::cut_units(*of, kept);
    check_close(logits(of), masked, 1e-5);
    return masked;
  }

  /// Saved, read again: the same config and logits.
  void check_saved(Model& of) const {
    const TemporaryFolder folder;
    save_model(of, *load_tokenizer(golden("model/tiny")), folder.path());
    auto again = load_model(folder.path()).model;
    CHECK((again->config().layers == of->config().layers));
    CHECK((again->config().input == of->config().input));
    CHECK((again->config().relative == of->config().relative));
    check_close(logits(again), logits(of), 0.0);
    int64_t count = 0;
    if (of->config().linear_format == WeightFormat::float32) {
      for (const auto& p : again->parameters()) count += p.numel();
      CHECK(parameter_count(again->config()) == count);
    }
  }

  /// model.pt gives the same logits, for other batches and lengths too.
  void check_exported(Model& of) const {
    const TemporaryFolder folder;
    exporter::save_script(exporter::model_script(of), folder / "model.pt");
    const auto file = exporter::script_logits(exporter::load_script(folder / "model.pt"));
    auto reference = exporter::as_runtime(of, exporter::Runtime::portable);  // fewer bits are LibTorch's there
    const c10::InferenceMode inference;
    const auto types = batch.token_type_ids().defined() ? batch.token_type_ids() : torch::zeros_like(batch.input_ids());
    for (const auto length : {batch.input_ids().size(1), int64_t{1}, int64_t{9}}) {
      const auto cut = [&](const torch::Tensor& t) { return t.slice(1, 0, length).contiguous(); };
      const auto part = text_batch(cut(batch.input_ids()), cut(batch.attention_mask()), cut(types));
      check_close(file(part), reference->forward(part).logits, 2e-5);
    }
    const auto longest = torch::full({1, of->config().max_length()}, 7, torch::kLong);
    const auto whole = text_batch(longest, torch::ones_like(longest), torch::zeros_like(longest));
    check_close(file(whole), reference->forward(whole).logits, 2e-5);
    const auto longer = torch::full({1, of->config().max_length() + 1}, 7, torch::kLong);
    CHECK_THROWS_AS(file(text_batch(longer, torch::ones_like(longer), torch::zeros_like(longer))), UnsupportedError);
  }

  /// A few steps; the loss of the batch before and after.
  std::pair<double, double> train_few(Model& student, Objective& objective) const {
    const TemporaryFolder folder;
    auto context = quiet_context(folder.path());
    const OneBatch source(batch);
    const auto loss = [&] {
      const at::NoGradGuard no_grad;
      student->eval();
      return objective.loss(batch).item<double>();
    };
    const double before = loss();
    const auto own = [&](const Batch& b) { return student->forward(b).logits; };
    student->set_fused(Arithmetic::float32);
    at::manual_seed(1);
    train(
        *student, objective, source, {.epochs = 12, .learning_rate = 3e-3, .precision = Precision::float32},
        [&] { return evaluate(own, source, context); }, context);
    student->set_fused(std::nullopt);
    return {before, loss()};
  }
};

/// For scripts/check_transformers.py: the model's folder and its logits, under $COMPRESS_FAMILIES.
void hand_over(const Subject& subject, Model& model, const std::string& what) {
  const char* root = std::getenv("COMPRESS_FAMILIES");
  if (!root) return;
  const auto folder = std::filesystem::path(root) / (subject.name + "." + what);
  std::filesystem::create_directories(folder);
  save_model(model, *load_tokenizer(golden("model/tiny")), folder);
  StateDict golden{{"logits", subject.logits(model)}, {"input_ids", subject.batch.input_ids()}};
  golden["attention_mask"] = subject.batch.attention_mask();
  if (subject.batch.token_type_ids().defined()) golden["token_type_ids"] = subject.batch.token_type_ids();
  write_safetensors(folder / "golden.safetensors", golden);
}

/// Layers 0 and the last, or all but one where a family's shared layers allow nothing else.
std::vector<int64_t> some_layers(const ModelConfig& config) {
  const auto last = static_cast<int64_t>(config.layers.size()) - 1;
  return last == 1 ? std::vector<int64_t>{1} : std::vector<int64_t>{0, last};
}

TEST_CASE("every family is fine-tuned") {
  const Subject subject;
  INFO(subject.name);
  auto model = subject.model;
  LabelObjective objective(model);
  const auto [before, after] = subject.train_few(model, objective);
  CHECK(after < 0.7 * before);
  subject.check_saved(model);
  hand_over(subject, model, "tuned");
}

TEST_CASE("every family is exported") {
  const Subject subject;
  INFO(subject.name);
  auto model = subject.model;
  subject.check_exported(model);
}

TEST_CASE("every family is distilled into fewer of its layers, with every loss") {
  using namespace distill;
  const Subject subject;
  INFO(subject.name);
  auto teacher = subject.model;
  auto student = keep_layers(teacher, some_layers(teacher->config()));
  CHECK(student->config().layers.size() < teacher->config().layers.size());
  CHECK(torch::equal(student->encoder->layers.back()->linear(Role::query)->weight,
                     teacher->encoder->layers.back()->linear(Role::query)->weight));
  std::vector<LossConfig> losses;
  for (const auto& [type, ignored] : enum_names(LossType{})) losses.push_back({.type = type});
  DistillObjective objective(student, {{teacher, DistillationLoss(losses, shape_of(student), shape_of(teacher))}});
  const auto [before, after] = subject.train_few(student, objective);
  CHECK(after < 0.8 * before);
  subject.check_saved(student);
  hand_over(subject, student, "distilled");
  subject.check_exported(student);
}

TEST_CASE("every family is pruned: what is cut computes what the masks did") {
  const Subject subject;
  INFO(subject.name);
  auto model = subject.model;
  LabelObjective objective(model);
  const OneBatch source(subject.batch, 2);
  const auto importance = prune::score_units(model, objective, source, quiet_context({}));
  size_t own_weights = 0;
  for (size_t i = 0; i < model->config().layers.size(); ++i) own_weights += model->config().first_use(i) == i ? 1 : 0;
  REQUIRE(importance.size() == 2 * own_weights);
  for (const auto& group : importance) CHECK(group.scores.max().item<float>() > 0.0f);

  auto kept = prune::choose_units(importance, {.heads = 2, .intermediate_size = 20});
  kept[0] = kept[0].slice(0, 1, 2);  // layers of different shapes
  kept.back() = kept.back().slice(0, 3);
  const auto masked = subject.check_cut(model, kept);
  CHECK_FALSE(torch::allclose(masked, golden_tensors("model/families/" + subject.name + ".safetensors").at("logits"),
                              1e-3, 1e-3));
  CHECK(model->config().layers.front().attention.heads == 1);
  CHECK(model->config().layers.back().mlp.units == 17);
  subject.check_saved(model);
  subject.check_exported(model);

  // What was cut can be cut again, trained, and cut to fewer layers.
  std::vector<torch::Tensor> again;
  for (const auto& group : model->prunable_units()) again.push_back(torch::arange(group.count - 1, group.count));
  auto twin = copy(model);
  subject.check_cut(twin, again);
  subject.check_saved(twin);
  auto shallow = distill::keep_layers(model, some_layers(model->config()));
  subject.check_saved(shallow);
  const auto [before, after] = subject.train_few(model, objective);
  CHECK(after < before);
}

TEST_CASE("attention and FFNs of every family can go whole") {
  const Subject subject;
  INFO(subject.name);
  auto model = copy(subject.model);
  std::vector<torch::Tensor> kept;
  for (const auto& group : model->prunable_units()) kept.push_back(torch::arange(group.count));
  kept.front() = kept.front().slice(0, 0, 0);
  kept.back() = kept.back().slice(0, 0, 0);
  const auto masked = subject.check_cut(model, kept);
  CHECK(model->config().layers.front().attention.heads == 0);
  CHECK(model->config().layers.back().mlp.units == 0);
  subject.check_saved(model);
  subject.check_exported(model);
  const auto fused = [&](Model& of) {
    const TemporaryFolder folder;
    exporter::save_script(exporter::model_script(of, exporter::Runtime::fused), folder / "model.pt");
    auto batch = subject.batch;
    if (!batch.token_type_ids().defined()) batch["token_type_ids"] = torch::zeros_like(batch.input_ids());
    return exporter::script_logits(exporter::load_script(folder / "model.pt"))(batch);
  };
  check_close(fused(model), masked, 1e-4);
  LabelObjective objective(model);
  const OneBatch source(subject.batch, 2);
  const auto importance = prune::score_units(model, objective, source, quiet_context({}));
  CHECK(importance.front().scores.numel() == 0);
  const auto picture = prune::importance_svg(importance, prune::choose_units(importance, {}));
  CHECK(picture.find("0 of 0") != std::string::npos);
  CHECK(picture.find("inf") == std::string::npos);

  auto int8 = copy(model);
  quantize::quantize(int8, {});
  CHECK(((subject.logits(int8) - masked).norm() / masked.norm()).item<double>() < 0.2);
  subject.check_saved(int8);
  subject.check_exported(int8);
  CHECK(((fused(int8) - masked).norm() / masked.norm()).item<double>() < 0.2);

  const auto [before, after] = subject.train_few(model, objective);
  CHECK(after < before);
}

TEST_CASE("every family is quantized, and exported so") {
  using quantize::Scheme;
  const Subject subject;
  INFO(subject.name);
  const auto exact = subject.logits(const_cast<Model&>(subject.model));
  for (const auto& [scheme, embeddings, activations, tolerance] :
       {std::tuple(Scheme::int8_dynamic, WeightFormat::int8, ActivationScheme::per_token, 0.2),
        std::tuple(Scheme::int8_dynamic, WeightFormat::float16, ActivationScheme::per_tensor, 0.3),
        std::tuple(Scheme::int8_static, WeightFormat::int8, ActivationScheme::static_per_tensor, 0.3),
        std::tuple(Scheme::fp16, WeightFormat::float16, ActivationScheme::per_token, 0.01),
        std::tuple(Scheme::bf16, WeightFormat::bfloat16, ActivationScheme::per_token, 0.1)}) {
    INFO(enum_name(scheme));
    auto model = copy(subject.model);
    quantize::Formats formats{quantize::format_of(scheme), embeddings, activations};
    if (scheme == Scheme::int8_static) {
      formats.input_scales = quantize::calibrate(model, {}, {}, OneBatch(subject.batch, 2), quiet_context({}));
    }
    quantize::quantize(model, formats);
    const double difference = ((subject.logits(model) - exact).norm() / exact.norm()).item<double>();
    CHECK(difference < tolerance);
    CHECK(difference > 1e-6);
    subject.check_saved(model);
    subject.check_exported(model);
  }
}

TEST_CASE("shared layers that no config.json can say are refused") {
  auto model = load_model(golden("model/families/albert")).model;  // 0 1 0 1 2 3 2 3
  const auto kept = [&](const std::vector<int64_t>& layers) {
    return distill::keep_layers(model, layers)->config().shared_layers;
  };
  CHECK(kept({0, 2, 4, 6}) == std::vector<int64_t>{0, 0, 1, 1});
  CHECK(kept({4, 5, 6, 7}) == std::vector<int64_t>{0, 1, 0, 1});
  CHECK(kept({6, 1}) == std::vector<int64_t>{0, 1});
  CHECK_THAT(message_of<UnsupportedError>([&] { kept({0, 1, 0}); }), Catch::Contains("0, 1, 0"));
}

}  // namespace
}  // namespace compression
