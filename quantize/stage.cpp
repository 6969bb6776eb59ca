#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "compress/train/batch.h"              // DataProvider
#include "quantize/config.h"                   // QuantizeConfig
#include "quantize/mixed.h"                    // quantize_within

namespace compression::quantize {
namespace {

class QuantizeStage : public Stage {
 public:
  explicit QuantizeStage(QuantizeConfig config) : config_(config) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    auto model = load_model(folder, {.head = inputs.data.head()}).model;
    Formats formats{.linear = format_of(config_.scheme),
                    .embeddings = config_.embeddings.value_or(format_of(config_.scheme)),
                    .activations = config_.activations,
                    .unquantized = matching_layers(model, config_.ignore)};
    Context on_cpu = context;  // where int8 layers run
    on_cpu.device = torch::kCPU;
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
    save_model(result.model, *tokenizer, context.work_folder);
    auto notes = nlohmann::json::object();
    if (!result.sensitivity.empty()) notes["sensitivity"] = sensitivity_json(result.sensitivity);
    if (!result.trials.empty()) notes["trials"] = trials_json(result.trials);
    return {context.work_folder, notes};
  }

 private:
  QuantizeConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const QuantizeConfig& config) {
  return std::make_unique<QuantizeStage>(config);
}

}  // namespace compression::quantize
