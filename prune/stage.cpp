#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "compress/checkpoint/json_file.h"     // write_text_file
#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "prune/config.h"                      // PruneConfig
#include "prune/cut.h"                         // choose_units, cut_units

namespace compression::prune {
namespace {

class PruneStage : public Stage {
 public:
  explicit PruneStage(PruneConfig config) : config_(config) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    auto model = load_model(folder, {.head = inputs.data.head()}).model;
    model->to(context.device);
    const auto source = inputs.data.batches(
        Split::train, *tokenizer,
        {.batch_size = config_.batch_size, .seed = context.seed, .max_examples = config_.score_examples});
    LabelObjective objective(model);
    const auto importance = score_units(model, objective, *source, context);
    cut_units(*model, choose_units(importance, {config_.heads, config_.intermediate_size}));
    context.logger->info("scored on {} texts; every layer now has {} heads and {} FFN units", source->size(),
                         model->config().layers.front().num_attention_heads,
                         model->config().layers.front().intermediate_size);
    model->to(torch::kCPU);
    save_model(model, *tokenizer, context.work_folder);
    write_text_file(context.work_folder / "importance.json", importance_json(importance).dump() + "\n");
    return {context.work_folder, {{"scored_examples", source->size()}}};
  }

 private:
  PruneConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const PruneConfig& config) {
  return std::make_unique<PruneStage>(config);
}

}  // namespace compression::prune
