#pragma once
// Settings of the pruning stage.

#include <array>
#include <memory>
#include <optional>

#include "compress/spec/sparsity.h"   // SparsityPattern
#include "compress/workflow/stage.h"  // Stage

namespace compression::prune {

enum class ImportanceMethod { first_order, fisher, taylor, surgeon, obert, wanda, magnitude, random };
constexpr std::array<std::pair<ImportanceMethod, std::string_view>, 8> enum_names(ImportanceMethod) {
  return {{{ImportanceMethod::first_order, "first_order"},
           {ImportanceMethod::fisher, "fisher"},
           {ImportanceMethod::taylor, "taylor"},
           {ImportanceMethod::surgeon, "surgeon"},
           {ImportanceMethod::obert, "obert"},
           {ImportanceMethod::wanda, "wanda"},
           {ImportanceMethod::magnitude, "magnitude"},
           {ImportanceMethod::random, "random"}}};
}

/// Whether a score is made of gradients of masks, which can be of single texts.
constexpr bool by_masks(ImportanceMethod method) {
  return method == ImportanceMethod::first_order || method == ImportanceMethod::fisher;
}

/// Whether a score is of single weights and of blocks of them alone: it asks for a pattern.
constexpr bool of_single_weights(ImportanceMethod method) {
  return method == ImportanceMethod::wanda || method == ImportanceMethod::obert;
}

enum class ScoreLabels { data, teacher };
constexpr std::array<std::pair<ScoreLabels, std::string_view>, 2> enum_names(ScoreLabels) {
  return {{{ScoreLabels::data, "data"}, {ScoreLabels::teacher, "teacher"}}};
}

enum class Allocation { uniform, global, sensitivity };
constexpr std::array<std::pair<Allocation, std::string_view>, 3> enum_names(Allocation) {
  return {{{Allocation::uniform, "uniform"}, {Allocation::global, "global"}, {Allocation::sensitivity, "sensitivity"}}};
}

enum class Reconstruction { none, rescale, least_squares, layerwise };
constexpr std::array<std::pair<Reconstruction, std::string_view>, 4> enum_names(Reconstruction) {
  return {{{Reconstruction::none, "none"},
           {Reconstruction::rescale, "rescale"},
           {Reconstruction::least_squares, "least_squares"},
           {Reconstruction::layerwise, "layerwise"}}};
}

/// How units are scored.
struct ScoreConfig {
  ImportanceMethod importance = ImportanceMethod::first_order;
  bool per_text = false;
  ScoreLabels labels = ScoreLabels::data;
  std::optional<Reference> teacher;
  double temperature = 1.0;
  int64_t score_examples = 0;
  int64_t batch_size = 32;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit(
        "importance", self.importance,
        "first_order: |dLoss/dmask| of each unit; fisher: its square; taylor: |sum of weight x dLoss/dweight|; "
        "surgeon: what the logits lose after least squares (needs no labels), with pattern what a layer's outputs lose "
        "when the weights that stay make good what they can (SparseGPT); obert, with pattern: what the loss gains when "
        "the weights of a block that stay make good what they can, by the Fisher information (oBERT), which is "
        "computed "
        "anew in each round; wanda, with pattern: weights times what they "
        "read (needs no labels); magnitude: length of the unit's weights; random");
    visit("per_text", self.per_text,
          "Of first_order and fisher: gradients of each text alone; else of each batch's mean loss");
    visit("labels", self.labels, "What the loss is about: the data's labels, or the teacher's probabilities");
    visit("teacher", self.teacher, "With labels: teacher, the model that gives them");
    visit("temperature", self.temperature, "With labels: teacher, divides both models' logits");
    visit("score_examples", self.score_examples, "Training texts to score on, chosen by the seed; 0: all");
    visit("batch_size", self.batch_size, "Texts a batch while scoring");
  }
};
void validate(const ScoreConfig& config, Problems& problems);

/// What is to be left. Of counts, the reductions and a pattern, one; of a pattern, latency_reduction in place of
/// density.
struct BudgetConfig {
  std::optional<int64_t> heads;
  std::optional<int64_t> intermediate_size;
  std::optional<int64_t> hidden_size;
  std::optional<double> macs_reduction;
  std::optional<double> parameter_reduction;
  std::optional<double> latency_reduction;
  std::optional<SparsityPattern> pattern;
  std::optional<double> density;
  Allocation allocation = Allocation::uniform;
  bool normalize = false;
  int64_t multiple_of = 1;
  bool whole_blocks = false;

  bool counts() const { return heads || intermediate_size; }

  /// With a pattern, unless it has latency_reduction: the share of weights that stay.
  double kept_share() const { return density.value_or(shape_of(*pattern).density()); }

  /// And of those that stay when so much of what goes is gone, 0 to 1.
  double kept_at(double share) const { return 1.0 - share * (1.0 - kept_share()); }

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("heads", self.heads, "Attention heads to keep in every layer, or on average (allocation); all if absent");
    visit("intermediate_size", self.intermediate_size,
          "FFN units to keep in every layer, or on average; all if absent");
    visit(
        "hidden_size", self.hidden_size,
        "Of prune: hidden dimensions to keep, which all layers share; they go first, and scores, counts and reductions "
        "are of the narrower model; all if absent");
    visit("macs_reduction", self.macs_reduction,
          "In place of counts: how many times fewer multiply-adds of the encoder, for texts of data.max_length tokens; "
          "heads and FFN units go by the global scores");
    visit("parameter_reduction", self.parameter_reduction,
          "In place of counts: how many times fewer parameters of heads and FFN units");
    visit("latency_reduction", self.latency_reduction,
          "In place of counts, of prune: how many times less time in the encoder's layers, for one text of "
          "data.max_length tokens, by a table that is measured on this machine's processor when the stage runs; with "
          "pattern, in place of density: how many times less time the blocks' int8 products take on this machine");
    visit(
        "pattern", self.pattern,
        "In place of counts: single weights of the blocks' matrices become 0, by themselves (unstructured), in blocks "
        "of outputs x inputs (1x4), or so many of each few inputs stay (2:4); auto: what this machine's kernels gain "
        "most from");
    visit("density", self.density, "With pattern: the share of weights that stay; of N:M it is N/M if absent");
    visit(
        "allocation", self.allocation,
        "Of counts and density. uniform: the same in every layer; global: the best of all layers together, of heads "
        "and FFN units at least one a layer; sensitivity, with pattern: by how much the loss rises, as measured, when "
        "a matrix alone becomes sparser, so that all rises together are least");
    visit("normalize", self.normalize,
          "Each layer's scores are divided by their length before layers are compared (Michel et al.)");
    visit("multiple_of", self.multiple_of, "FFN units of a layer are kept in multiples of this");
    visit("whole_blocks", self.whole_blocks,
          "Attention or the FFN of a layer may go whole; not with counts that are the same in every layer");
  }
};
void validate(const BudgetConfig& config, Problems& problems);

/// What is done to the weights that are left, without training.
struct ReconstructConfig {
  Reconstruction reconstruct = Reconstruction::none;
  int64_t calibration_examples = 2048;
  double damping = 1e-3;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("reconstruct", self.reconstruct,
          "Without training, so that each layer gives what the unpruned one does: rescale: a factor a unit; "
          "least_squares: all weights that read the units; layerwise: every linear layer in turn");
    visit("calibration_examples", self.calibration_examples,
          "Training texts to reconstruct on, chosen by the seed; 0: all");
    visit("damping", self.damping,
          "Pulls reconstructed weights to what they were; in shares of the mean square of the units' values");
  }
};
void validate(const ReconstructConfig& config, Problems& problems);

/// What the three have to agree on.
void validate_together(const ScoreConfig& score, const BudgetConfig& budget, const ReconstructConfig& reconstruct,
                       Problems& problems);

struct PruneConfig {
  static constexpr std::string_view kind = "prune";

  Reference of;
  ScoreConfig score;
  BudgetConfig budget;
  ReconstructConfig reconstruct;
  int64_t rounds = 1;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to prune", Presence::required);
    ScoreConfig::fields(self.score, visit);
    BudgetConfig::fields(self.budget, visit);
    ReconstructConfig::fields(self.reconstruct, visit);
    visit("rounds", self.rounds,
          "Times to score, cut and reconstruct; the share that is gone follows a cubic curve (Zhu and Gupta)");
  }
};
void validate(const PruneConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const PruneConfig& config);

}  // namespace compression::prune
