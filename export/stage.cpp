#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>

#include "compress/checkpoint/json_file.h"     // write_text_file
#include "compress/checkpoint/model_folder.h"  // load_model
#include "export/config.h"                     // ExportConfig
#include "export/model_script.h"               // model_script, check_parity

namespace compression::exporter {
namespace {

class ExportStage : public Stage {
 public:
  explicit ExportStage(ExportConfig config) : config_(config) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    auto model = load_model(folder, {.head = inputs.data.head()}).model;
    const auto file = context.work_folder / "model.pt";
    save_script(model_script(model, config_.runtime), file);
    write_text_file(context.work_folder / "config.json", write_model_config(model->config()).dump(2) + "\n");
    copy_tokenizer(*tokenizer, context.work_folder);

    const auto split = inputs.data.has(Split::test) ? Split::test : Split::validation;
    const auto source = inputs.data.batches(split, *tokenizer, {});
    const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
    Context on_cpu = context;  // where TorchScript files run
    on_cpu.device = torch::kCPU;
    const auto format = model->config().linear_format;
    ParityBounds bounds;
    if (config_.runtime == Runtime::fused && format != WeightFormat::float32) {
      bounds = {.largest_difference = std::numeric_limits<double>::infinity(),
                .relative_difference = format == WeightFormat::int8 ? 0.2 : 0.03,
                .metric = std::max(0.003, 3.0 / static_cast<double>(std::max<int64_t>(source->size(), 1)))};
    }
    if (config_.tolerance) {
      bounds.largest_difference = *config_.tolerance;
      bounds.relative_difference = std::numeric_limits<double>::infinity();
    }
    const auto parity = check_parity(logits, script_logits(load_script(file)), *source, bounds, "model.pt", on_cpu);
    context.logger->info("model.pt, loaded again: logits differ by at most {:.2g}, {:.2g} of their size; {}",
                         parity.largest_difference, parity.relative_difference, describe(parity.file));
    const auto metric = enum_name(parity.model.metric);
    return {context.work_folder,
            {{"parity",
              {{"largest_difference", parity.largest_difference},
               {"relative_difference", parity.relative_difference},
               {fmt::format("model_{}", metric), parity.model.value()},
               {fmt::format("file_{}", metric), parity.file.value()},
               {"texts", parity.file.total}}}}};
  }

 private:
  ExportConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const ExportConfig& config) {
  return std::make_unique<ExportStage>(config);
}

}  // namespace compression::exporter
