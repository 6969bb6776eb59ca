#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "compress/base/error.h"                 // ConfigError
#include "compress/base/json_file.h"             // write_text_file
#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "prune/config.h"                        // PruneConfig
#include "prune/heat_map.h"                      // importance_svg
#include "prune/hidden.h"                        // hidden_scores, keep_hidden
#include "prune/pruner.h"                        // Pruner
#include "prune/rounds.h"                        // prune_in_rounds
#include "prune/schedule.h"                      // cubic_share
#include "prune/sparse.h"                        // sparsity_json, tell_sparsity

namespace compression::prune {
namespace {

/// Heads or FFN units, a number a layer.
std::vector<int64_t> each_layer(const ModelConfig& config, UnitKind kind) {
  std::vector<int64_t> each;
  for (const auto& layer : config.layers) each.push_back(units_of(layer, kind));
  return each;
}

class PruneStage : public Stage {
 public:
  explicit PruneStage(PruneConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto& folder = inputs.model(config_.of).folder;
    const auto tokenizer = load_tokenizer(folder);
    auto model = load_model(folder, {.head = inputs.data.head()}, context).model;
    model->to(context.device);
    const auto hidden = config_.budget.hidden_size ? cut_hidden(model, *tokenizer, inputs, context) : nlohmann::json();
    Pruner pruner(model, *tokenizer, config_.score, config_.reconstruct, inputs, context);
    if (config_.budget.pattern) return sparsified(model, *tokenizer, pruner, context);
    const Budget budget(model, config_.budget, inputs.data.max_length());
    const auto result = prune_in_rounds(
        model, budget, config_.rounds, [&] { return pruner.score(); },
        [&](const auto& kept) { pruner.reconstruct(kept); });

    const auto heads = each_layer(model->config(), UnitKind::heads);
    const auto units = each_layer(model->config(), UnitKind::intermediate);
    context.logger->info("scored on {} texts; heads a layer: {}; FFN units a layer: {}", pruner.scored_texts(),
                         fmt::join(heads, ", "), fmt::join(units, ", "));
    model->to(torch::kCPU);
    save_model(model, *tokenizer, context.work_folder);
    auto scores = importance_json(result.importance);
    for (size_t i = 0; i < result.kept.size(); ++i) {
      const auto* kept = result.kept[i].data_ptr<int64_t>();
      scores["groups"][i]["kept"] = std::vector<int64_t>(kept, kept + result.kept[i].numel());
    }
    if (!hidden.is_null()) scores["hidden"] = hidden;
    write_text_file(context.work_folder / "importance.json", scores.dump() + "\n");
    write_text_file(context.work_folder / "importance.svg", importance_svg(result.importance, result.kept));
    nlohmann::json notes{{"scored_examples", pruner.scored_texts()}, {"heads", heads}, {"intermediate_size", units}};
    if (!hidden.is_null()) notes["hidden_size"] = model->config().hidden_size;
    if (const auto& latency = budget.latency()) notes["latency"] = latency_json(*latency);
    return {context.work_folder, std::move(notes)};
  }

 private:
  /// Rounds to the density, and the model as it is then.
  Artifact sparsified(Model& model, const Tokenizer& tokenizer, Pruner& pruner, const Context& context) const {
    for (int64_t round = 1; round <= config_.rounds; ++round) {
      const auto share = cubic_share(static_cast<double>(round) / static_cast<double>(config_.rounds));
      pruner.sparsify(config_.budget, share);
    }
    model->to(torch::kCPU);
    save_model(model, tokenizer, context.work_folder);
    auto notes = sparsity_json(model);
    tell_sparsity(model, context);
    notes["scored_examples"] = pruner.scored_texts();
    return {context.work_folder, std::move(notes)};
  }

  /// Scores hidden dimensions, and leaves the model with the best of them.
  nlohmann::json cut_hidden(Model& model, const Tokenizer& tokenizer, const Inputs& inputs,
                            const Context& context) const {
    const auto& score = config_.score;
    const auto all = model->config().hidden_size, wanted = *config_.budget.hidden_size;
    if (wanted > all) {
      throw ConfigError(fmt::format("hidden_size: {} to keep, but the model has {}", wanted, all));
    }
    const auto texts = scoring_texts(tokenizer, score, inputs, context);
    const auto scores = hidden_scores(model, *texts, context, score.importance, score.per_text);
    const auto kept = best_units(scores, wanted);
    model = keep_hidden(model, kept);
    model->to(context.device);
    context.logger->info("hidden dimensions: {} of {} stay", wanted, all);
    const auto* values = scores.data_ptr<float>();
    const auto* stay = kept.data_ptr<int64_t>();
    return {{"scores", std::vector<float>(values, values + all)}, {"kept", std::vector<int64_t>(stay, stay + wanted)}};
  }

  PruneConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const PruneConfig& config) {
  return std::make_unique<PruneStage>(config);
}

}  // namespace compression::prune
