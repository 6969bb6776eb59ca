// Whatever is set for the process that uses the libraries, their numbers are the same bits.
#include <ATen/Parallel.h>
#include <c10/core/DefaultDtype.h>

#include <cfenv>
#include <clocale>
#include <locale>

#include "compress/evaluate/evaluate.h"
#include "compress/model/autocast.h"
#include "compress/state_dict/state_dict.h"
#include "compress/task/task.h"
#include "compress/train/precision.h"  // fused_arithmetic
#include "compress/train/trainer.h"
#include "datasets/dataset.h"
#include "distill/objective.h"
#include "distill/student.h"
#include "export/encoder_state.h"
#include "export/model_script.h"
#include "prune/cut.h"
#include "prune/hidden.h"
#include "prune/importance.h"
#include "prune/reconstruct.h"
#include "prune/surgeon.h"
#include "quantize/bias_correction.h"
#include "quantize/calibrate.h"
#include "quantize/smooth.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

class DefaultDtype {
 public:
  explicit DefaultDtype(torch::Dtype dtype) : before_(c10::get_default_dtype()) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(dtype));
  }
  ~DefaultDtype() { c10::set_default_dtype(before_); }
  DefaultDtype(const DefaultDtype&) = delete;

 private:
  caffe2::TypeMeta before_;
};

/// The labelled batch of a golden model, over and over.
class Labelled : public OneBatch {
 public:
  explicit Labelled(const Batch& batch) : OneBatch(batch, 2) {}
  std::unique_ptr<Scorer> scorer() const override {
    return make_scorer({{"a", "b", "c"}, TaskType::classification}, Metric::accuracy);
  }
};

using Numbers = std::map<std::string, torch::Tensor>;

/// What the stages make of a small model, one after the other.
Numbers all_numbers(const std::string& folder, const Batch& batch) {
  Numbers numbers;
  const TemporaryFolder work;
  auto context = quiet_context(work.path());
  const Labelled texts(batch);
  const auto logits_of = [&](Model& model) {
    model->eval();
    return predict([&](const Batch& b) { return model->forward(b).logits; }, texts, context);
  };
  const auto keep = [&](const std::string& name, const torch::Tensor& value) { numbers[name] = value.clone(); };
  const auto keep_scores = [&](const std::string& name, const prune::Importance& importance) {
    for (size_t i = 0; i < importance.size(); ++i) keep(fmt::format("{} {}", name, i), importance[i].scores);
  };
  const auto train_few = [&](Model& model, Objective& objective, const TrainConfig& config) {
    model->set_fused(fused_arithmetic(config, torch::kCPU));
    train(*model, objective, texts, config, [&] { return Evaluation{.loss = 1.0}; }, context);
    model->set_fused(std::nullopt);
  };

  at::manual_seed(3);
  auto teacher = load_model(golden(folder), {.head = TaskHead{{"a", "b", "c"}}}).model;
  const auto whole = copy(teacher);
  keep("loaded", logits_of(teacher));
  LabelObjective labels(teacher);
  for (const bool fused : {true, false}) {
    train_few(teacher, labels, {.epochs = 1, .learning_rate = 1e-3, .precision = Precision::float32, .fused = fused});
  }
  train_few(teacher, labels,
            {.epochs = 1, .precision = Precision::bfloat16, .fused = false, .recompute_activations = true});
  train_few(teacher, labels, {.epochs = 1, .precision = Precision::int16});
  keep("trained", logits_of(teacher));

  using namespace distill;
  auto student = distill::keep_layers(teacher, {0});
  const std::vector<LossConfig> losses{
      {.type = LossType::logits}, {.type = LossType::hidden_states}, {.type = LossType::relations}};
  DistillObjective objective(
      student, {{teacher, DistillationLoss(losses, shape_of(student), shape_of(teacher), TaskType::classification)}});
  train_few(student, objective, {.epochs = 1, .learning_rate = 1e-3, .precision = Precision::float32});
  keep("distilled", logits_of(student));

  const bool shared = !whole->config().shared_layers.empty();
  auto model = copy(teacher);
  LabelObjective own(model);
  const auto scores = prune::score_units(model, own, texts, context);
  keep_scores("first order", scores);
  keep("hidden", prune::hidden_scores(model, texts, context, prune::ImportanceMethod::first_order, false));
  keep_scores("random", prune::random_scores(*model, 5));
  if (!shared) keep_scores("surgeon", prune::surgeon_scores(model, texts, 1, context));
  const auto kept = prune::choose_units(scores, {.heads = 2, .intermediate_size = 20});
  prune::cut_units(*model, kept);
  keep("cut", logits_of(model));
  if (!shared) {
    prune::reconstruct(model, teacher, kept, texts, prune::Reconstruction::layerwise, 1e-2, context);
    keep("reconstructed", logits_of(model));
  }

  for (const auto activations : {ActivationScheme::per_token, ActivationScheme::static_per_tensor}) {
    const std::string name = activations == ActivationScheme::per_token ? "int8" : "static int8";
    auto exact = copy(model);
    quantize::Formats formats{.activations = activations};
    const quantize::ObserverOptions observer{.kind = quantize::ObserverKind::min_max};
    quantize::smooth(exact, formats, observer, 0.5, texts, context);
    if (activations == ActivationScheme::static_per_tensor) {
      formats.input_scales = quantize::calibrate(exact, {}, observer, texts, context);
    }
    auto small = copy(exact);
    quantize::quantize(small, formats);
    quantize::correct_biases(small, exact, texts, context);
    keep(name, logits_of(small));
    for (const auto runtime : {exporter::Runtime::portable, exporter::Runtime::fused}) {
      exporter::save_script(exporter::model_script(small, runtime), work / "model.pt");
      const auto file = exporter::script_logits(exporter::load_script(work / "model.pt"));
      auto reference = exporter::as_runtime(small, runtime);
      exporter::check_parity([&](const Batch& b) { return reference->forward(b).logits; }, file, texts, {}, "model.pt",
                             context);
      keep(name + (runtime == exporter::Runtime::fused ? ", fused file" : ", portable file"),
           predict(file, texts, context));
    }
  }
  return numbers;
}

void check_equal(const Numbers& found, const Numbers& expected) {
  REQUIRE(found.size() == expected.size());
  for (const auto& [name, value] : expected) {
    INFO(name);
    CHECK(found.at(name).scalar_type() == value.scalar_type());
    check_close(found.at(name), value, 0.0);
  }
}

TEST_CASE("the default dtype, autocast, inference mode, gradients and locale of a process change no number") {
  const auto folder = GENERATE(as<std::string>(), "model/tiny", "model/families/albert", "model/families/mpnet",
                               "model/families/deberta-v2");
  INFO(folder);
  auto batch = golden_batch(golden_tensors(folder + ".safetensors"));
  if (!batch.token_type_ids().defined()) batch["token_type_ids"] = torch::zeros_like(batch.input_ids());
  const auto expected = all_numbers(folder, batch);
  CHECK(expected.contains("int8"));
  {
    INFO("default dtype");
    const DefaultDtype set(folder == "model/tiny" ? torch::kDouble : torch::kBFloat16);
    check_equal(all_numbers(folder, batch), expected);
  }
  if (folder != "model/tiny") return;
  {
    INFO("autocast");
    const Autocast set(torch::kBFloat16, torch::kCPU);
    check_equal(all_numbers(folder, batch), expected);
  }
  {
    INFO("inference mode");
    const c10::InferenceMode set;
    check_equal(all_numbers(folder, batch), expected);
  }
  {
    INFO("no gradients");
    const at::NoGradGuard set;
    check_equal(all_numbers(folder, batch), expected);
  }
}

/// While it lives, numbers are written as in German: 1.234,5.
class GermanLocale {
 public:
  GermanLocale() : c_(std::setlocale(LC_ALL, nullptr)) {
    struct Numbers : std::numpunct<char> {
      char do_decimal_point() const override { return ','; }
      char do_thousands_sep() const override { return '.'; }
      std::string do_grouping() const override { return "\3"; }
    };
    for (const auto* name : {"de_DE.UTF-8", "de_DE.utf8", "de_DE"}) {
      if (std::setlocale(LC_ALL, name) != nullptr) break;
    }
    before_ = std::locale::global(std::locale(std::locale(), new Numbers));
  }
  ~GermanLocale() {
    std::locale::global(before_);
    std::setlocale(LC_ALL, c_.c_str());
  }
  GermanLocale(const GermanLocale&) = delete;

 private:
  std::string c_;
  std::locale before_;
};

TEST_CASE("a locale with other numbers changes neither what is read nor what is written") {
  auto model = load_model(golden("model/tiny")).model;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const TemporaryFolder folder;
  write_file(folder / "scores.jsonl", R"({"text": "a", "label": "0.25"})"
                                      "\n"
                                      R"({"text": "b", "label": "+1.5e3"})"
                                      "\n");
  const auto write = [&](const std::string& name) {
    std::filesystem::create_directories(folder / name);
    save_model(model, *load_tokenizer(golden("model/tiny")), folder / name);
    exporter::save_script(exporter::model_script(model), folder / name / "model.pt");
    exporter::save_script(exporter::model_script(model, exporter::Runtime::fused), folder / name / "fused.pt");
  };
  const auto read = [&](const std::string& name) {
    const c10::InferenceMode inference;
    Numbers numbers{{"folder", load_model(folder / name).model->forward(batch).logits}};
    for (const auto* file : {"model.pt", "fused.pt"}) {
      numbers[file] = exporter::script_logits(exporter::load_script(folder / name / file))(batch);
    }
    return numbers;
  };
  const auto scores = [&] {
    return datasets::scores(
        datasets::read_dataset({.path = folder / "scores.jsonl"}, /*labelled=*/true, TaskType::regression));
  };
  write("plain");
  const auto expected = read("plain");
  CHECK(scores() == std::vector<double>{0.25, 1500.0});
  {
    const GermanLocale set;
    write("german");
    CHECK(scores() == std::vector<double>{0.25, 1500.0});
    check_equal(read("plain"), expected);
    check_equal(read("german"), expected);
  }
  check_equal(read("german"), expected);
  CHECK(read_file(folder / "german/config.json") == read_file(folder / "plain/config.json"));
  CHECK(read_file(folder / "german/model.safetensors") == read_file(folder / "plain/model.safetensors"));
}

TEST_CASE(
    "a fused file computes the same bits under whatever the process has set, when it is loaded and when it is called") {
  auto model = load_model(golden("model/families/mpnet")).model;
  quantize::quantize(model, {.embeddings = GENERATE(WeightFormat::int8, WeightFormat::float16)});
  const auto batch = golden_batch(golden_tensors("model/families/mpnet.safetensors"));
  const auto types = torch::zeros_like(batch.input_ids());
  const auto texts = text_batch(batch.input_ids(), batch.attention_mask(), types);
  const TemporaryFolder folder;
  exporter::save_script(exporter::model_script(model, exporter::Runtime::fused), folder / "model.pt");
  const auto load = [&] { return exporter::script_logits(exporter::load_script(folder / "model.pt")); };
  const auto loaded_before = load();
  const auto expected = loaded_before(texts).clone();
  const auto check = [&](const char* what) {
    INFO(what);
    for (const auto& file : {loaded_before, load()}) {
      const auto logits = file(texts);
      CHECK(logits.scalar_type() == torch::kFloat);
      CHECK(torch::equal(logits, expected));
    }
  };
  for (const auto dtype : {torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    const DefaultDtype set(dtype);
    check("default dtype");
  }
  {
    const Autocast set(torch::kBFloat16, torch::kCPU);
    check("autocast");
  }
  {
    const at::NoGradGuard set;
    check("no gradients");
  }
  {
    const c10::InferenceMode set;
    check("inference mode");
  }
  {
    const GermanLocale set;
    check("locale");
  }
  at::globalContext().setFlushDenormal(true);
  check("denormals are zero");
  at::globalContext().setFlushDenormal(false);
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    const auto before = loaded_before(texts), after = load()(texts);
    std::fesetround(FE_TONEAREST);
    CHECK(torch::equal(before, expected));
    CHECK(torch::equal(after, expected));
  }
}

}  // namespace
}  // namespace compression
