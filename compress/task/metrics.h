#pragma once
// Metrics, each a function of predictions and what was expected. They equal scikit-learn's, scipy's, seqeval's and the
// SQuAD script's (tests/goldens/evaluate). Shares are from 0 to 1. Each throws DataError where nothing was given.

#include <torch/types.h>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression {

enum class Metric {
  accuracy,
  f1,
  micro_f1,
  macro_f1,
  matthews,
  pearson,
  spearman,
  mse,
  entity_f1,
  exact_match,
  perplexity,
  has_answer_f1,
  has_answer_exact_match,
  no_answer_accuracy
};
constexpr std::array<std::pair<Metric, std::string_view>, 14> enum_names(Metric) {
  return {{{Metric::accuracy, "accuracy"},
           {Metric::f1, "f1"},
           {Metric::micro_f1, "micro_f1"},
           {Metric::macro_f1, "macro_f1"},
           {Metric::matthews, "matthews"},
           {Metric::pearson, "pearson"},
           {Metric::spearman, "spearman"},
           {Metric::mse, "mse"},
           {Metric::entity_f1, "entity_f1"},
           {Metric::exact_match, "exact_match"},
           {Metric::perplexity, "perplexity"},
           {Metric::has_answer_f1, "has_answer_f1"},
           {Metric::has_answer_exact_match, "has_answer_exact_match"},
           {Metric::no_answer_accuracy, "no_answer_accuracy"}}};
}

/// False for errors, of which less is better and which have no upper bound.
constexpr bool higher_is_better(Metric metric) {
  return metric != Metric::mse && metric != Metric::perplexity;
}

/// How much worse `reached` is than `base`: above 0 where it is worse, whichever way the metric counts. What compares
/// values of a metric asks here, or the two functions below.
constexpr double drop(double reached, double base, Metric metric) {
  return higher_is_better(metric) ? base - reached : reached - base;
}

/// Rounding of a metric, which decides nothing: a drop of 0.01 is met by 5 texts of 500.
inline constexpr double metric_rounding = 1e-9;

/// Whether `reached` is worse than `base` by at most `max_drop`. What is no number is within no bound.
constexpr bool within(double reached, double base, double max_drop, Metric metric) {
  return drop(reached, base, metric) <= max_drop + metric_rounding;
}

/// Whether `one` is better than `other`. A number is better than what is none.
constexpr bool better(double one, double other, Metric metric) {
  return drop(one, other, metric) < 0 || (one == one && other != other);
}

namespace metrics {

/// Both int64 [examples], or bool [examples, labels], whose rows have to be equal whole.
double accuracy(const torch::Tensor& predicted, const torch::Tensor& expected);

/// 2 tp / (2 tp + fp + fn). binary: of class 1. micro: of the counts of all classes together. macro: the mean over
/// classes. Of int64 [examples] the classes are those that occur, of bool [examples, labels] all columns; binary is
/// for int64 alone.
enum class Average { binary, micro, macro };
double f1(const torch::Tensor& predicted, const torch::Tensor& expected, Average average);

/// Matthews' correlation coefficient for any number of classes (Gorodkin 2004). int64 [examples] each.
double matthews(const torch::Tensor& predicted, const torch::Tensor& expected);

/// Correlation of two float [examples]; 0 where one of them is constant, as a single number is.
double pearson(const torch::Tensor& x, const torch::Tensor& y);

/// Pearson's of the ranks; equal values share the mean of theirs.
double spearman(const torch::Tensor& x, const torch::Tensor& y);

double mean_squared_error(const torch::Tensor& x, const torch::Tensor& y);

using Tags = std::vector<std::string>;

/// F1 of entities, micro-averaged: an entity counts if type and both ends are right. One list of tags a text; what is
/// ill-formed is read as conlleval does (seqeval's default mode). 0 where neither has an entity.
double entity_f1(std::span<const Tags> predicted, std::span<const Tags> expected);

/// Of SQuAD 1.1: 1 if the answers are equal without case, punctuation, articles and white space, else 0; the best over
/// the expected answers. UTF-8.
double exact_match(std::string_view predicted, std::span<const std::string> expected);

/// Of SQuAD 1.1: F1 of the words that both have, after the same normalisation; the best over the expected answers.
double token_f1(std::string_view predicted, std::span<const std::string> expected);

/// Exact match and F1 of SQuAD 2.0's script, where a question may have no answer: expected answers of which the
/// normalisation leaves nothing do not count, and where none counts, no word is right.
struct AnswerScore {
  double exact_match = 0.0, f1 = 0.0;
};
AnswerScore answer_score(std::string_view predicted, std::span<const std::string> expected);

}  // namespace metrics
}  // namespace compression
