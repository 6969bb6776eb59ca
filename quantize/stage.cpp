#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/task/batch_source.h"          // DataProvider
#include "quantize/bias_correction.h"            // correct_biases
#include "quantize/calibrate.h"                  // calibrate
#include "quantize/config.h"                     // QuantizeConfig
#include "quantize/mixed.h"                      // quantize_within
#include "quantize/smooth.h"                     // smooth

namespace compression::quantize {
namespace {

class QuantizeStage : public Stage {
 public:
  explicit QuantizeStage(const QuantizeConfig& config) : config_(config) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    auto model = load_model(folder, {.head = inputs.data.head()}, context).model;
    require_float32(model);
    const bool is_static = config_.scheme == Scheme::int8_static;
    Formats formats{.linear = format_of(config_.scheme),
                    .embeddings = config_.embeddings.value_or(format_of(config_.scheme)),
                    .activations = is_static ? ActivationScheme::static_per_tensor : config_.activations,
                    .unquantized = matching_layers(model, config_.ignore)};
    Context on_cpu = context;  // where int8 layers run
    on_cpu.device = torch::kCPU;
    auto notes = nlohmann::json::object();
    std::shared_ptr<const BatchSource> texts;
    if (config_.calibrates()) {
      texts = inputs.data.batches(Split::train, *tokenizer,
                                  {.seed = context.seed, .max_examples = config_.calibration_examples});
      notes["calibration_examples"] = texts->size();
    }
    if (config_.smooth_quant) notes["smooth_quant"] = smooth_layers(model, formats, *texts, on_cpu);
    if (is_static) notes["input_scales"] = find_input_scales(model, formats, *texts, on_cpu);

    const auto evaluate_on_validation = [&](Model& candidate) {
      const auto source = inputs.data.batches(Split::validation, *tokenizer, {});
      return evaluate([&](const Batch& batch) { return candidate->forward(batch).logits; }, *source, on_cpu);
    };
    auto result = config_.max_drop ? quantize_within(model, formats, *config_.max_drop, evaluate_on_validation)
                                   : MixedPrecision{.model = copy(model)};
    if (!config_.max_drop) quantize(result.model, formats);
    if (config_.sensitivity && result.sensitivity.empty()) {
      result.sensitivity = measure_sensitivity(model, formats, evaluate_on_validation);
    }
    const auto& unquantized = result.model->config().unquantized;
    if (!unquantized.empty()) {
      context.logger->info("{} of {} linear layers stay fp32: {}", unquantized.size(), model->linears().size(),
                           fmt::join(unquantized, ", "));
    }
    if (config_.bias_correction) {
      notes["bias_correction"] = correct(result.model, model, *texts, evaluate_on_validation, on_cpu);
    }
    save_model(result.model, *tokenizer, context.work_folder);
    if (!result.sensitivity.empty()) notes["sensitivity"] = sensitivity_json(result.sensitivity);
    if (!result.trials.empty()) notes["trials"] = trials_json(result.trials);
    return {context.work_folder, notes};
  }

 private:
  ObserverOptions observer() const { return {config_.observer, config_.percentile}; }

  nlohmann::json smooth_layers(Model& model, const Formats& formats, const BatchSource& texts,
                               const Context& context) const {
    const auto layers = smooth(model, formats, observer(), config_.smooth_strength, texts, context);
    std::vector<double> strengths;
    for (const auto& layer : layers) strengths.push_back(layer.strength);
    context.logger->info("SmoothQuant: strengths of {} layers: {}", layers.size(), fmt::join(strengths, ", "));
    return smoothing_json(layers);
  }

  nlohmann::json find_input_scales(Model& model, Formats& formats, const BatchSource& texts,
                                   const Context& context) const {
    formats.input_scales = calibrate(model, formats.unquantized, observer(), texts, context);
    float least = std::numeric_limits<float>::infinity(), most = 0.0f;
    for (const auto& [name, scale] : formats.input_scales) {
      least = std::min(least, scale);
      most = std::max(most, scale);
    }
    const auto kind = enum_name(config_.observer);
    if (most == 0.0f) return {{"observer", kind}};
    context.logger->info("calibrated on {} texts, observer {}: input scales from {:.3g} to {:.3g}", texts.size(), kind,
                         least, most);
    return {{"observer", kind}, {"least", least}, {"most", most}};
  }

  /// With max_drop, only where the bound holds with the corrected biases too, or the metric is no worse for them.
  nlohmann::json correct(Model& quantized, Model& original, const BatchSource& texts, const Evaluate& evaluate_model,
                         const Context& context) const {
    auto corrected = copy(quantized);
    const double moved = correct_biases(corrected, original, texts, context);
    const bool kept = !config_.max_drop || bound_holds(evaluate_model(corrected), evaluate_model(quantized),
                                                       evaluate_model(original), *config_.max_drop);
    if (kept) quantized = std::move(corrected);
    context.logger->info("bias correction: biases move by {:.3g} on average{}", moved,
                         kept ? "" : "; not kept: the metric would get worse by more than max_drop");
    return {{"mean_shift", moved}, {"kept", kept}};
  }

  QuantizeConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const QuantizeConfig& config) {
  return std::make_unique<QuantizeStage>(config);
}

}  // namespace compression::quantize
