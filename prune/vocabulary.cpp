#include "prune/vocabulary.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "compress/base/error.h"                 // StorageError
#include "compress/model/resize.h"               // resized
#include "compress/model_files/fit.h"            // check_fit
#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/task/batch_source.h"          // DataProvider
#include "compress/tokenizer/trim.h"             // trim_tokenizer

namespace compression::prune {
namespace {

/// The tokens of a batch's texts: where some are hidden to be found again those too, which its labels name.
torch::Tensor tokens_of(const Batch& batch, LabelKind labels) {
  if (labels != LabelKind::none) return batch.input_ids().flatten();
  return torch::where(batch.labels().eq(ignored_label), batch.input_ids(), batch.labels()).flatten();
}

/// How often each token occurs in the texts to train on.
std::vector<int64_t> count_tokens(const DataProvider& data, const Tokenizer& tokenizer) {
  const auto texts = data.batches(Split::train, tokenizer, {.unlabelled = true});
  std::vector<int64_t> counts(static_cast<size_t>(tokenizer.usable_ids()));
  for (const auto& examples : texts->plan(0)) {
    const auto ids = tokens_of(texts->collate(examples), traits_of(data.head().task).labels);
    for (int64_t i = 0; i < ids.numel(); ++i) ++counts.at(static_cast<size_t>(ids.data_ptr<int64_t>()[i]));
  }
  return counts;
}

class VocabularyStage : public Stage {
 public:
  explicit VocabularyStage(VocabularyConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    const auto model = load_model(folder, {.head = inputs.data.head()}, context).model;
    for (const auto& line : check_fit(*tokenizer, model->config(), folder)) {
      context.logger->warn("{}: the tokens are left out", line);
    }
    // Where positions count from the padding token's id, it keeps it: all before it stay.
    const auto pad = model->config().pad_token_id;
    const auto first = model->config().input.positions_after_padding ? std::max(config_.common, pad) : config_.common;
    std::vector<bool> used;
    int64_t in_texts = 0;
    for (const auto count : count_tokens(inputs.data, *tokenizer)) {
      const bool counts = count >= config_.min_count;
      in_texts += counts ? 1 : 0;
      const auto id = static_cast<int64_t>(used.size());
      used.push_back(counts || id < first || id == pad);
    }
    const auto trimmed = context.work_folder / "trimmed";
    if (!std::filesystem::create_directory(trimmed)) {  // it is removed again below
      throw StorageError(trimmed.string() + ": is there already, expected a work folder without it");
    }
    const auto kept = trim_tokenizer(*tokenizer, used, trimmed);
    context.logger->info("{} of {} tokens stay, {} of them in the training texts", kept.size(),
                         model->config().vocab_size, in_texts);
    save_model(keep_tokens(model, kept), *load_tokenizer(trimmed), context.work_folder);
    std::filesystem::remove_all(trimmed);
    return {context.work_folder, {{"tokens", kept.size()}, {"tokens_before", model->config().vocab_size}}};
  }

 private:
  VocabularyConfig config_;
};

}  // namespace

void validate(const VocabularyConfig& config, Problems& problems) {
  problems.at_least("min_count", config.min_count, 1);
  problems.at_least("common", config.common, 0);
}

Model keep_tokens(const Model& model, const std::vector<int64_t>& kept) {
  auto config = model->config();
  const auto new_id = [&](int64_t id) -> std::optional<int64_t> {
    const auto at = std::lower_bound(kept.begin(), kept.end(), id);
    if (at == kept.end() || *at != id) return std::nullopt;
    return at - kept.begin();
  };
  const auto pad = new_id(config.pad_token_id);
  if (!pad || (config.input.positions_after_padding && *pad != config.pad_token_id)) {
    throw std::invalid_argument(fmt::format("the padding token, {}, would {}", config.pad_token_id,
                                            pad ? "get another id, and positions count from it" : "go"));
  }
  config.pad_token_id = *pad;
  config.vocab_size = static_cast<int64_t>(kept.size());
  if (config.source.is_object()) {
    for (auto& [key, value] : config.source.items()) {
      if (!key.ends_with("_token_id") || !value.is_number_integer()) continue;
      const auto id = new_id(value.get<int64_t>());
      value = id ? nlohmann::json(*id) : nlohmann::json(nullptr);
    }
  }
  const auto rows = torch::tensor(kept, torch::kLong);
  return resized(model, config, [&](Label, int64_t, int64_t, int64_t) { return rows; });
}

std::unique_ptr<Stage> make_stage(const VocabularyConfig& config) {
  return std::make_unique<VocabularyStage>(config);
}

}  // namespace compression::prune
