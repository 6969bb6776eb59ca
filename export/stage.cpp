#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "compress/base/json_file.h"                      // write_text_file
#include "compress/families/model_config.h"               // write_model_config
#include "compress/model_folder/model_folder.h"           // load_model
#include "compress/model_folder/sentence_transformers.h"  // write_sentence_modules
#include "compress/storage/storage.h"                     // storage_of
#include "export/config.h"                                // ExportConfig
#include "export/model_script.h"                          // model_script, check_parity

namespace compression::exporter {
namespace {

/// Why a file of a runtime computes other numbers than the folder; nothing where it computes the same.
std::string why_other(const ModelConfig& config, Runtime runtime) {
  const bool quantizes_inputs = storage_of(config.linear_format).quantizes_inputs();
  if (runtime == Runtime::fused) {
    if (!quantizes_inputs || config.activations != ActivationScheme::per_tensor) return "";
    return "the fused runtime has a scale a token, where the folder has one for all texts of a batch";
  }
  if (config.linear_format == WeightFormat::bfloat16) return "LibTorch's operators round results to bfloat16 too";
  if (!quantizes_inputs || config.activations == ActivationScheme::static_per_tensor) return "";
  return "LibTorch's int8 operators leave activations seven bits, the folder and the fused runtime have eight";
}

class ExportStage : public Stage {
 public:
  explicit ExportStage(ExportConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    auto model = load_model(folder, {.head = inputs.data.head()}, context).model;
    auto reference = as_runtime(model, config_.runtime);
    const auto file = context.work_folder / "model.pt";
    save_script(model_script(model, config_.runtime), file);
    write_text_file(context.work_folder / "config.json", write_model_config(reference->config()).dump(2) + "\n");
    copy_tokenizer(*tokenizer, context.work_folder);
    if (traits_of(model->config().task).head == HeadKind::embedding) {
      write_sentence_modules(model->config(), *tokenizer, {}, context.work_folder);
    }

    const auto split = inputs.data.has(Split::test) ? Split::test : Split::validation;
    const auto source = inputs.data.batches(split, *tokenizer, {});
    const auto logits_of = [](Model& of) { return [&of](const Batch& batch) { return of->forward(batch).logits; }; };
    Context on_cpu = context;  // where TorchScript files run
    on_cpu.device = torch::kCPU;
    const auto loaded = script_logits(
        load_script(file), {.name = "model.pt", .head = TaskHead{model->config().labels, model->config().task}});
    const auto parity =
        check_parity(logits_of(reference), loaded, *source, bounds(model->config()), "model.pt", on_cpu);
    context.logger->info("model.pt, loaded again: logits differ by at most {:.2g}, {:.2g} of their size; {}",
                         parity.largest_difference, parity.relative_difference, describe(parity.file));
    const auto metric = enum_name(parity.model.metric);
    nlohmann::json notes = {{"parity",
                             {{"largest_difference", parity.largest_difference},
                              {"relative_difference", parity.relative_difference},
                              {fmt::format("model_{}", metric), parity.model.value()},
                              {fmt::format("file_{}", metric), parity.file.value()},
                              {"texts", parity.file.total}}}};
    auto warnings = nlohmann::json::array();
    if (const auto reason = why_other(model->config(), config_.runtime); !reason.empty()) {
      const auto of_folder = evaluate(logits_of(model), *source, on_cpu);
      notes["parity"][fmt::format("folder_{}", metric)] = of_folder.value();
      if (of_folder.value() != parity.file.value()) {
        warnings.push_back(fmt::format("model.pt: {} {:.4f}, the folder's {:.4f}: {}", metric, parity.file.value(),
                                       of_folder.value(), reason));
      }
    }
    if (config_.runtime == Runtime::fused && model->config().linear_format != WeightFormat::float32) {
      const double difference = from_libtorch(model, loaded, *source);
      notes["parity"]["libtorch_difference"] = difference;
      if (!(difference <= unusual_difference)) {
        warnings.push_back(fmt::format(
            "model.pt: its logits differ by {:.2g} of their size from those of LibTorch's operators with the "
            "same weights; another rounding of activations is seldom worth more than {:.2g}",
            difference, unusual_difference));
      }
    }
    if (!warnings.empty()) notes["warnings"] = warnings;
    return {context.work_folder, notes};
  }

 private:
  static constexpr double unusual_difference = 0.2;

  /// The fused runtime computes weights of fewer bits as the folder does, operation by operation.
  ParityBounds bounds(const ModelConfig& config) const {
    if (config_.tolerance) return {.absolute = *config_.tolerance, .relative = 0.0};
    const bool same = config_.runtime == Runtime::fused && config.linear_format != WeightFormat::float32;
    return same ? ParityBounds{.absolute = 1e-5, .relative = 1e-5} : ParityBounds{};
  }

  /// How far a fused file is from LibTorch's operators, which share no code with it, on a batch: in shares of the
  /// logits' size.
  static double from_libtorch(const Model& model, const LogitsFunction& file, const BatchSource& source) {
    const c10::InferenceMode inference;
    const auto plan = source.plan(0);
    if (plan.empty()) return 0.0;
    const auto batch = source.collate(plan.front());
    auto other = as_runtime(model, Runtime::portable);
    const auto own = other->forward(batch).logits, expected = counted(own, own, batch);
    const auto difference = counted(file(batch), own, batch) - expected;
    return (difference.norm() / expected.norm().clamp_min(1e-30)).item<double>();
  }

  ExportConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const ExportConfig& config) {
  return std::make_unique<ExportStage>(config);
}

}  // namespace compression::exporter
