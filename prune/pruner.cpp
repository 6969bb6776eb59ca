#include "prune/pruner.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/base/error.h"                 // UnsupportedError
#include "compress/base/fields.h"                // enum_name
#include "compress/evaluate/evaluate.h"          // predict
#include "compress/model/autocast.h"             // OrdinaryMode
#include "compress/model_folder/model_folder.h"  // load_model
#include "prune/block_fisher.h"                  // BlockFisher
#include "prune/reconstruct.h"                   // reconstruct
#include "prune/sensitivity.h"                   // choose_densities, loss_rises
#include "prune/sparse.h"                        // block_scores, sparse_gpt

namespace compression::prune {

std::shared_ptr<const BatchSource> scoring_texts(const Tokenizer& tokenizer, const ScoreConfig& score,
                                                 const Inputs& inputs, const Context& context) {
  return inputs.data.batches(
      Split::train, tokenizer,
      {.batch_size = score.batch_size, .seed = context.seed, .max_examples = score.score_examples});
}

Pruner::Pruner(Model model, const Tokenizer& tokenizer, const ScoreConfig& score, const ReconstructConfig& reconstruct,
               const Inputs& inputs, const Context& context)
    : model_(std::move(model)), score_(score), reconstruct_(reconstruct), context_(context) {
  texts_ = scoring_texts(tokenizer, score, inputs, context);
  objective_ = make_objective(inputs);
  if (reconstruct.reconstruct == Reconstruction::none) return;
  calibration_ = inputs.data.batches(Split::train, tokenizer,
                                     {.seed = context.seed, .max_examples = reconstruct.calibration_examples});
  original_ = copy(model_);
  original_->to(context.device);
}

Importance Pruner::score() const {
  auto model = model_;
  return score_units(model, *objective_, *texts_, context_, {score_.importance, score_.per_text});
}

void Pruner::reconstruct(const std::vector<torch::Tensor>& kept) {
  if (!original_) return;
  prune::reconstruct(model_, original_, kept, *calibration_, reconstruct_.reconstruct, reconstruct_.damping, context_);
}

void Pruner::sparsify(const BudgetConfig& budget, double share) {
  const OrdinaryMode ordinary(context_.device);
  auto layers = model_->block_linears();
  std::erase_if(layers, [](const Linear& layer) { return layer->weight.numel() == 0; });  // blocks that went whole
  const auto pattern = resolved(*budget.pattern);
  const auto shape = shape_of(pattern);
  model_->config().sparsity = pattern;
  if (score_.importance == ImportanceMethod::surgeon)
    return sparse_gpt_layers(model_, shape, budget.kept_at(share), *texts_, context_);
  const auto next_loss = losses(*objective_, *texts_, context_);
  std::optional<BlockFisher> fisher;
  std::vector<torch::Tensor> scores;
  if (score_.importance == ImportanceMethod::obert) {
    fisher.emplace(layers, shape, next_loss);
    for (size_t i = 0; i < layers.size(); ++i) scores.push_back(fisher->scores(i));
  } else {
    scores = block_scores(model_, layers, shape, score_.importance, next_loss, *texts_, context_);
  }
  const at::NoGradGuard no_grad;
  const auto with = [&](size_t i, const torch::Tensor& kept) {
    return fisher ? fisher->pruned(i, kept) : layers[i]->weight * kept;
  };
  if (budget.allocation == Allocation::global) {
    const auto kept = kept_of_all(scores, shape, budget.kept_at(share), layers);
    for (size_t i = 0; i < layers.size(); ++i) layers[i]->weight.copy_(with(i, kept[i]));
    return;
  }
  const auto at_density = [&](size_t i, double density) {
    return with(i, kept_weights(scores[i], shape, density, layers[i]->weight.size(0), layers[i]->weight.size(1)));
  };
  const auto each = budget.allocation == Allocation::sensitivity
                        ? densities(layers, budget, share, at_density)
                        : std::vector<double>(layers.size(), budget.kept_at(share));
  for (size_t i = 0; i < layers.size(); ++i) layers[i]->weight.copy_(at_density(i, each[i]));
}

std::vector<double> Pruner::densities(const std::vector<Linear>& layers, const BudgetConfig& budget, double share,
                                      const std::function<torch::Tensor(size_t layer, double density)>& pruned) {
  const bool timed = budget.latency_reduction.has_value();
  const auto rises = loss_rises(layers, *objective_, *texts_, context_, pruned);
  std::vector<DensityCurve> curves;
  double all = 0.0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto out = layers[i]->rows(), in = layers[i]->columns();
    curves.push_back(
        {.costs = timed ? product_costs(out, in, shape_of(resolved(*budget.pattern))) : weight_costs(out, in),
         .rises = rises[i]});
    all += static_cast<double>(out * in);
  }
  const auto left = timed ? 1.0 - share * (1.0 - 1.0 / *budget.latency_reduction) : budget.kept_at(share);
  return choose_densities(curves, left * all, timed ? Steps::whole : Steps::parts);
}

std::unique_ptr<Objective> Pruner::make_objective(const Inputs& inputs) const {
  if (score_.labels == ScoreLabels::data) return std::make_unique<LabelObjective>(model_);
  if (const auto& task = traits_of(inputs.data.head().task); task.labels != LabelKind::class_name) {
    throw UnsupportedError(
        fmt::format("prune: labels: found teacher with task {}, expected classification with it", task.name));
  }
  const auto& folder = inputs.model(*score_.teacher).folder;
  auto teacher = load_model(folder, {.head = inputs.data.head()}, context_).model;
  teacher->to(context_.device);
  // The same subset as the texts that are scored on, in the same order.
  const auto texts = inputs.data.batches(Split::train, *load_tokenizer(folder),
                                         {.seed = context_.seed, .max_examples = score_.score_examples});
  const auto logits = predict([&](const Batch& batch) { return teacher->forward(batch).logits; }, *texts, context_);
  return std::make_unique<SoftLabelObjective>(model_, logits.clone(), score_.temperature);
}

}  // namespace compression::prune
