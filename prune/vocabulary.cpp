#include "prune/vocabulary.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "compress/checkpoint/checkpoint.h"    // state_dict, load_state_dict
#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "compress/tokenizer/trim.h"           // trim_tokenizer

namespace compression::prune {
namespace {

/// How often each token occurs in the texts to train on.
std::vector<int64_t> count_tokens(const DataProvider& data, const Tokenizer& tokenizer) {
  const auto texts = data.batches(Split::train, tokenizer, {.unlabelled = true});
  std::vector<int64_t> counts(static_cast<size_t>(tokenizer.vocabulary_size()));
  for (const auto& examples : texts->plan(0)) {
    const auto ids = texts->collate(examples).input_ids.flatten();
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
    const auto model = load_model(folder, {.head = inputs.data.head()}).model;
    std::vector<bool> used;
    int64_t in_texts = 0;
    for (const auto count : count_tokens(inputs.data, *tokenizer)) {
      const bool counts = count >= config_.min_count;
      in_texts += counts ? 1 : 0;
      used.push_back(counts || static_cast<int64_t>(used.size()) < config_.common);
    }
    const auto trimmed = context.work_folder / "trimmed";
    std::filesystem::create_directory(trimmed);
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
  if (new_id(config.pad_token_id) != config.pad_token_id) {
    throw std::invalid_argument(fmt::format("the padding token, {}, would get another id", config.pad_token_id));
  }
  config.vocab_size = static_cast<int64_t>(kept.size());
  if (config.source.is_object()) {
    for (auto& [key, value] : config.source.items()) {
      if (!key.ends_with("_token_id") || !value.is_number_integer()) continue;
      const auto id = new_id(value.get<int64_t>());
      value = id ? nlohmann::json(*id) : nlohmann::json(nullptr);
    }
  }
  auto state = state_dict(*model);
  const auto rows = torch::tensor(kept);
  for (auto& [name, tensor] : state) {
    const bool of_words = name.find("embeddings.word_embeddings.") != std::string::npos ||
                          (config.task == TaskType::masked_lm && name == "head.bias");
    if (of_words) tensor = tensor.index_select(0, rows);
  }
  Model smaller(config);
  load_state_dict(*smaller, state);
  for (auto& linear : smaller->linears()) linear->repack();
  smaller->train(model->is_training());
  return smaller;
}

std::unique_ptr<Stage> make_stage(const VocabularyConfig& config) {
  return std::make_unique<VocabularyStage>(config);
}

}  // namespace compression::prune
