#include "compress/train/finetune.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <span>

#include "compress/base/error.h"                 // ConfigError
#include "compress/base/message.h"               // printable
#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/task/labels.h"                // ClassFinder
#include "compress/train/trainer.h"              // train

namespace compression {
namespace {

/// Labels / (classes * labels of the class), as scikit-learn has it: float32 [classes]; 0 for a class without labels.
torch::Tensor balanced_weights(const BatchSource& source, int64_t classes) {
  auto counts = torch::zeros({classes}, torch::kLong);
  for (const auto& positions : source.plan(0)) {
    const auto labels = source.collate(positions).labels().flatten();
    counts += torch::bincount(labels.masked_select(labels.ne(ignored_label)), {}, classes);
  }
  const auto all = counts.sum().to(torch::kDouble) / static_cast<double>(classes);
  return torch::where(counts > 0, all / counts, 0.0).to(torch::kFloat);
}

class FinetuneStage : public Stage {
 public:
  explicit FinetuneStage(FinetuneConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    at::manual_seed(context.seed);
    const auto& folder = config_.of ? inputs.model(*config_.of).folder : inputs.base.folder;
    const auto tokenizer = load_tokenizer(folder);
    auto [model, notes, warnings] = load_model(folder, {.head = inputs.data.head(), .new_head = true}, context);

    LabelLoss loss{.smoothing = config_.label_smoothing};
    nlohmann::json told = {{"initialised", notes}};
    const auto& labels = model->config().labels;
    if (const auto problem = unknown_weight(config_, labels); !problem.empty())
      throw ConfigError("label_weights: " + problem);
    const bool balanced = config_.class_weights == ClassWeights::balanced;
    if (balanced || !config_.label_weights.empty()) {
      const auto classes = static_cast<int64_t>(labels.size());
      loss.class_weights =
          balanced ? balanced_weights(*training_batches(*tokenizer, inputs.data, config_.train, context), classes)
                   : torch::ones({classes}, torch::kFloat);
      const ClassFinder finder(labels);
      for (const auto& [label, weight] : config_.label_weights) loss.class_weights[finder.find(label)->id] *= weight;
      auto& weights = told["class_weights"];
      for (size_t i = 0; i < labels.size(); ++i) {
        weights[labels[i]] = loss.class_weights[static_cast<int64_t>(i)].item<float>();
      }
    }
    LabelObjective objective(model, loss);
    const auto result = train_model(model, objective, *tokenizer, inputs.data, config_.train, context);
    save_model(model, *tokenizer, context.work_folder);
    told["training"] = history_json(result);
    return {context.work_folder, told};
  }

 private:
  FinetuneConfig config_;
};

}  // namespace

std::string unknown_weight(const FinetuneConfig& config, const std::vector<std::string>& classes) {
  const ClassFinder finder(classes);
  for (const auto& [name, weight] : config.label_weights) {
    if (finder.find(name)) continue;
    constexpr size_t shown = 20;
    const auto count = std::min(classes.size(), shown);
    return fmt::format("found \"{}\", which is none of the {} classes; expected one of {}{}", printable(name),
                       classes.size(), fmt::join(std::span(classes).first(count), ", "),
                       count < classes.size() ? ", ..." : "");
  }
  return "";
}

std::unique_ptr<Stage> make_stage(const FinetuneConfig& config) {
  return std::make_unique<FinetuneStage>(config);
}

}  // namespace compression
