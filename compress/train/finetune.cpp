#include "compress/train/finetune.h"

#include <torch/types.h>

#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "compress/train/trainer.h"            // train

namespace compression {
namespace {

class FinetuneStage : public Stage {
 public:
  explicit FinetuneStage(FinetuneConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    at::manual_seed(context.seed);
    const auto& folder = config_.of ? inputs.model(*config_.of).folder : inputs.base.folder;
    const auto tokenizer = load_tokenizer(folder);
    auto [model, notes, warnings] = load_model(folder, {.head = inputs.data.head(), .new_head = true}, context);

    LabelObjective objective(model);
    const auto result = train_model(model, objective, *tokenizer, inputs.data, config_.train, context);
    save_model(model, *tokenizer, context.work_folder);
    return {context.work_folder, {{"initialised", notes}, {"training", history_json(result)}}};
  }

 private:
  FinetuneConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const FinetuneConfig& config) {
  return std::make_unique<FinetuneStage>(config);
}

}  // namespace compression
