#pragma once
// Extractive question answering: which part of the context the logits of its windows say, or that it has no answer.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/base/fields.h"          // Presence
#include "compress/evaluate/evaluate.h"    // Scorer
#include "compress/tokenizer/tokenizer.h"  // ByteSpan
#include "datasets/dataset.h"              // Answer

namespace compression::datasets {

/// Which answers are looked for. The defaults are those of transformers' run_qa.
struct AnswerConfig {
  bool unanswerable = false;
  std::optional<double> threshold;
  int64_t n_best = 20;
  int64_t longest = 30;
  bool operator==(const AnswerConfig&) const = default;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("unanswerable", self.unanswerable,
          "Questions may have no answer (SQuAD 2.0): they are trained on, found by the threshold and scored");
    visit("threshold", self.threshold,
          "A question has no answer where the logits of the first token are by more than this above those of the best "
          "answer; if absent what the metric is best with on the validation texts");
    visit("n_best", self.n_best,
          "The best so many starts by the best so many ends of each window are looked at, and so many answers of a "
          "question are told apart");
    visit("longest", self.longest, "Tokens of the longest answer");
  }
};
void validate(const AnswerConfig& config, Problems& problems);

/// Questions, whose contexts were cut into windows.
struct Windows {
  std::vector<std::string> contexts;  // one a question
  std::vector<std::vector<std::string>> answers;

  std::vector<size_t> question;               // of each window
  std::vector<std::vector<ByteSpan>> tokens;  // of each window's tokens: where in the context; begin is -1 elsewhere
};

/// First and last token of `answer` in a window; both 0 (the first token) if the window does not have all of it.
std::pair<int64_t, int64_t> answer_tokens(const std::vector<ByteSpan>& tokens, const Answer& answer);

/// What the logits say of one question.
struct FoundAnswer {
  struct Candidate {
    std::string text;    // empty: that there is no answer
    double share = 0.0;  // of the softmax over the candidates' sums of logits
  };
  std::vector<Candidate> candidates;  // best first; with `unanswerable` that there is no answer is among them
  std::string text;                   // of the best that is an answer; empty where no span was found
  double no_answer = 0.0;  // with `unanswerable`: by how much the logits rather say that there is none; infinity where
                           // no span was found

  /// The text, or an empty one where there is no answer by the threshold.
  const std::string& chosen(double threshold) const;
};

/// Chooses spans as transformers' run_qa does: of each window the n_best starts by the n_best ends, of at most
/// `longest` tokens, in the context; of a question the spans with the largest sums of logits. That there is no answer
/// has the least of the windows' sums at their first tokens.
class AnswerFinder {
 public:
  explicit AnswerFinder(std::shared_ptr<const Windows> windows, const AnswerConfig& config = {});

  /// logits: float [batch, sequence, 2]; batch.examples are windows.
  void add(const Batch& batch, const torch::Tensor& logits);

  /// One a question.
  std::vector<FoundAnswer> answers() const;

 private:
  struct Span {
    double score;
    ByteSpan place;
  };
  std::shared_ptr<const Windows> windows_;
  AnswerConfig config_;
  std::vector<std::vector<Span>> best_;  // of each question, best first
  std::vector<double> none_;             // of each question, with `unanswerable`: the sum that says that there is none
};

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
