#pragma once
// Scores and reconstructs a model with a task's data, as the settings of a recipe say.

#include <functional>
#include <memory>
#include <vector>

#include "compress/tokenizer/tokenizer.h"  // Tokenizer
#include "compress/train/objective.h"      // Objective
#include "compress/workflow/stage.h"       // Inputs
#include "prune/importance.h"              // Importance

namespace compression::prune {

/// The training texts that scores are computed on.
std::shared_ptr<const BatchSource> scoring_texts(const Tokenizer& tokenizer, const ScoreConfig& score,
                                                 const Inputs& inputs, const Context& context);

class Pruner {
 public:
  /// Remembers the model as it is, for reconstruction, and computes the probabilities of the teacher that `score`
  /// names.
  Pruner(Model model, const Tokenizer& tokenizer, const ScoreConfig& score, const ReconstructConfig& reconstruct,
         const Inputs& inputs, const Context& context);

  /// Of the model as it is by now, on training texts.
  Importance score() const;

  /// Leaves of the weights of the model's blocks, as it is by now, what the budget does at `share` of the way to it, in
  /// its pattern, and those that were 0 at 0. By importance: surgeon and obert move those that stay. Of N:M, rounds on
  /// the way leave more of each group. Throws ConfigError if this machine's kernels don't gain what latency_reduction
  /// asks for.
  void sparsify(const BudgetConfig& budget, double share);

  /// Fits the model as it is by now to the model as it was, of which it has the units `kept`, on training texts.
  void reconstruct(const std::vector<torch::Tensor>& kept);

  int64_t scored_texts() const { return texts_->size(); }

 private:
  std::unique_ptr<Objective> make_objective(const Inputs& inputs) const;

  /// Of each layer, by how much the loss rises; `pruned` gives its weight at a density.
  std::vector<double> densities(const std::vector<Linear>& layers, const BudgetConfig& budget, double share,
                                const std::function<torch::Tensor(size_t layer, double density)>& pruned);

  Model model_, original_{nullptr};
  const ScoreConfig score_;
  const ReconstructConfig reconstruct_;
  const Context& context_;
  std::shared_ptr<const BatchSource> texts_, calibration_;
  std::unique_ptr<Objective> objective_;
};

}  // namespace compression::prune
