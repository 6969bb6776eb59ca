#pragma once
// Extractive question answering with answers that are known: what is trained on, and what answers that were found are
// worth (compress/pipeline/answer_finder.h finds them).

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/evaluate/evaluate.h"       // Scorer
#include "compress/pipeline/answer_finder.h"  // AnswerConfig, Windows, AnswerFinder
#include "datasets/dataset.h"                 // Answer

namespace compression::datasets {

/// First and last token of `answer` in a window; both 0 (the first token) if the window does not have all of it.
std::pair<int64_t, int64_t> answer_tokens(const std::vector<ByteSpan>& tokens, const Answer& answer);

/// Adds the windows of a batch to those that answers are found in. logits: float [batch, sequence, 2]; batch.examples
/// are windows.
void add(const Batch& batch, const torch::Tensor& logits, AnswerFinder& finder);

/// The threshold of `no_answer` with the largest sum of scores: a question that is above it scores 1 where it has no
/// answer and 0 where it has one, another one what its span scores. One value a question each; `scores` of those that
/// have no answer do not count. Of equal sums the lowest; below all of them where it is best to answer nothing. It is
/// that of SQuAD 2.0's evaluate script (find_best_thresh).
double best_threshold(std::span<const double> no_answer, std::span<const double> scores,
                      const std::vector<bool>& has_answer);

/// Exact match and F1 over questions, of SQuAD 1.1 or, with `unanswerable`, of 2.0; the loss is the mean over windows.
/// With `unanswerable` and without a threshold the best for `metric` is taken, and told (Evaluation::threshold).
std::unique_ptr<Scorer> make_answer_scorer(std::shared_ptr<const Windows> windows, Metric metric,
                                           const AnswerConfig& config = {});

}  // namespace compression::datasets
