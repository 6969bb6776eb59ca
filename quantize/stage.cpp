#include <torch/types.h>

#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "compress/train/batch.h"              // DataProvider
#include "quantize/config.h"                   // QuantizeConfig
#include "quantize/convert.h"                  // quantize

namespace compression::quantize {
namespace {

class QuantizeStage : public Stage {
 public:
  explicit QuantizeStage(QuantizeConfig config) : config_(config) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    auto model = load_model(folder, {.head = inputs.data.head()}).model;
    const auto embeddings = config_.embeddings.value_or(format_of(config_.scheme));
    quantize(model, config_.scheme, embeddings, config_.activations);
    save_model(model, *load_tokenizer(folder), context.work_folder);
    return {context.work_folder};
  }

 private:
  QuantizeConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const QuantizeConfig& config) {
  return std::make_unique<QuantizeStage>(config);
}

}  // namespace compression::quantize
