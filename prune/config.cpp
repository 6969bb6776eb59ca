#include "prune/config.h"

namespace compression::prune {

void validate(const ScoreConfig& config, Problems& problems) {
  problems.require(!config.per_text || by_masks(config.importance), "per_text",
                   "found true with " + std::string(enum_name(config.importance)) +
                       "; expected first_order or fisher, which have gradients of single texts");
  const bool soft = config.labels == ScoreLabels::teacher;
  const bool by_gradients = by_masks(config.importance) || config.importance == ImportanceMethod::taylor ||
                            config.importance == ImportanceMethod::obert;
  problems.require(!soft || by_gradients, "labels",
                   "found teacher with " + std::string(enum_name(config.importance)) +
                       ", which has no use for labels; "
                       "expected data, or first_order, fisher, taylor or obert");
  problems.require(!soft || config.teacher, "teacher", "found nothing with labels: teacher; expected a model");
  problems.require(soft || !config.teacher, "labels", "found data with a teacher; expected teacher");
  problems.above("temperature", config.temperature, 0);
  problems.at_least("score_examples", config.score_examples, 0);
  problems.within("batch_size", config.batch_size, 1, 65536);
}

namespace {

void validate_pattern(const BudgetConfig& config, Problems& problems) {
  problems.require(config.pattern || !config.density, "density", "found without pattern; expected both");
  const bool by_sensitivity = config.allocation == Allocation::sensitivity;
  problems.require(config.pattern || !by_sensitivity, "allocation",
                   "found sensitivity without pattern; expected both, or uniform or global");
  if (!config.pattern) return;
  const auto own = shape_of(*config.pattern).density();
  problems.require(!by_sensitivity || own == 0.0, "allocation",
                   "found sensitivity with pattern: " + std::string(enum_name(*config.pattern)) +
                       ", which leaves the same of each matrix; expected uniform");
  problems.require(!config.latency_reduction || by_sensitivity, "allocation",
                   "found " + std::string(enum_name(config.allocation)) +
                       " with pattern and latency_reduction; expected sensitivity");
  problems.require(!config.latency_reduction || !config.density, "density",
                   "found with latency_reduction; expected one of them");
  problems.require(config.density || config.latency_reduction || own > 0.0, "density",
                   "found nothing with pattern: " + std::string(enum_name(*config.pattern)) +
                       "; expected the share of weights that stay, or latency_reduction");
  if (config.density) {
    problems.above("density", *config.density, 0);
    problems.require(
        *config.density <= 1.0 && *config.density >= own, "density",
        "found " + number_text(*config.density) + ", expected " + (own > 0.0 ? number_text(own) : "above 0") + " to 1");
  }
  problems.require(!config.hidden_size, "hidden_size", "found with pattern; expected it in a prune stage before");
  problems.require(!config.whole_blocks, "whole_blocks", "found with pattern, which has no whole blocks");
}

}  // namespace

void validate(const BudgetConfig& config, Problems& problems) {
  const int budgets = int{config.counts()} + int{config.pattern.has_value()} + int{config.macs_reduction.has_value()} +
                      int{config.parameter_reduction.has_value()} +
                      int{config.latency_reduction.has_value() && !config.pattern};
  problems.require(budgets > 0 || config.hidden_size, "",
                   "nothing to prune; expected heads, intermediate_size or both, or hidden_size, macs_reduction, "
                   "parameter_reduction, latency_reduction or pattern");
  problems.require(budgets < 2, "",
                   "more than one budget; expected counts (heads, intermediate_size), macs_reduction, "
                   "parameter_reduction, latency_reduction or pattern");
  validate_pattern(config, problems);
  problems.at_least("heads", config.heads, 1);
  problems.at_least("intermediate_size", config.intermediate_size, 1);
  problems.at_least("hidden_size", config.hidden_size, 1);
  problems.at_least("macs_reduction", config.macs_reduction, 1);
  problems.at_least("parameter_reduction", config.parameter_reduction, 1);
  problems.at_least("latency_reduction", config.latency_reduction, 1);
  problems.within("multiple_of", config.multiple_of, 1, 65536);
  problems.require(!config.whole_blocks || !config.counts() || config.allocation == Allocation::global, "whole_blocks",
                   "found with the same counts in every layer; expected allocation: global, or a reduction");
  problems.require(
      !config.intermediate_size || *config.intermediate_size % std::max<int64_t>(config.multiple_of, 1) == 0,
      "intermediate_size",
      "found " + number_text(config.intermediate_size.value_or(0)) + ", expected a multiple of multiple_of, " +
          number_text(config.multiple_of));
}

void validate(const ReconstructConfig& config, Problems& problems) {
  problems.at_least("calibration_examples", config.calibration_examples, 0);
  problems.within("damping", config.damping, 1e-9, 1e9);
}

void validate_together(const ScoreConfig& score, const BudgetConfig& budget, const ReconstructConfig& reconstruct,
                       Problems& problems) {
  const auto method = score.importance;
  if (!budget.pattern) {
    problems.require(!of_single_weights(method), "importance",
                     "found " + std::string(enum_name(method)) +
                         ", which scores single weights; expected pattern with it, or another score");
    return;
  }
  problems.require(method != ImportanceMethod::taylor, "importance",
                   "found taylor with pattern, where it is first_order; expected first_order");
  problems.require(method != ImportanceMethod::surgeon || budget.allocation == Allocation::uniform, "allocation",
                   "found " + std::string(enum_name(budget.allocation)) +
                       " with surgeon, which decides matrix by matrix; expected uniform");
  problems.require(method != ImportanceMethod::obert || shape_of(*budget.pattern).rows == 1, "pattern",
                   "found " + std::string(enum_name(*budget.pattern)) +
                       " with obert; expected one whose blocks are of one output: unstructured, N:M, 1x2, 1x4 or 1x8");
  problems.require(!score.per_text, "per_text", "found true with pattern; expected false");
  problems.require(
      reconstruct.reconstruct == Reconstruction::none, "reconstruct",
      "found " + std::string(enum_name(reconstruct.reconstruct)) +
          " with pattern; expected none, or importance: surgeon or obert, which move the weights that stay");
}

void validate(const PruneConfig& config, Problems& problems) {
  validate(config.score, problems);
  validate(config.budget, problems);
  validate(config.reconstruct, problems);
  validate_together(config.score, config.budget, config.reconstruct, problems);
  const auto method = config.score.importance;
  problems.require(!config.budget.hidden_size || by_masks(method) || method == ImportanceMethod::magnitude ||
                       method == ImportanceMethod::random,
                   "importance",
                   "found " + std::string(enum_name(method)) +
                       ", which has no scores of hidden dimensions; expected first_order, fisher, magnitude or random");
  problems.require(!config.budget.hidden_size || config.score.labels == ScoreLabels::data, "labels",
                   "found teacher with hidden_size; expected data");
  problems.require(!config.score.teacher || !(*config.score.teacher == config.of), "teacher",
                   "found the model that is pruned: against its own probabilities all gradients are 0; expected "
                   "another model");
  problems.within("rounds", config.rounds, 1, 1000);
}

}  // namespace compression::prune
