#pragma once
// Extractive question answering: which part of the context the logits of its windows say.

#include <memory>
#include <string>
#include <vector>

#include "compress/evaluate/evaluate.h"    // Scorer
#include "compress/tokenizer/tokenizer.h"  // ByteSpan
#include "datasets/dataset.h"              // Answer

namespace compression::datasets {

/// Questions, whose contexts were cut into windows.
struct Windows {
  std::vector<std::string> contexts;  // one a question
  std::vector<std::vector<std::string>> answers;

  std::vector<size_t> question;               // of each window
  std::vector<std::vector<ByteSpan>> tokens;  // of each window's tokens: where in the context; begin is -1 elsewhere
};

/// First and last token of `answer` in a window; both 0 (the first token) if the window does not have all of it.
std::pair<int64_t, int64_t> answer_tokens(const std::vector<ByteSpan>& tokens, const Answer& answer);

struct FoundAnswer {
  std::string text;    // empty where no span was found
  double score = 0.0;  // its share of the softmax over the 20 best
};

/// Chooses spans as transformers' run_qa does: of each window the 20 best starts by the 20 best ends, of at most 30
/// tokens, in the context; of a question the span with the largest sum of logits.
class AnswerFinder {
 public:
  explicit AnswerFinder(std::shared_ptr<const Windows> windows);

  /// logits: float [batch, sequence, 2]; batch.examples are windows.
  void add(const Batch& batch, const torch::Tensor& logits);

  /// One a question.
  std::vector<FoundAnswer> answers() const;

  static constexpr int64_t candidates = 20, longest = 30;

 private:
  struct Span {
    double score;
    ByteSpan place;
  };
  std::shared_ptr<const Windows> windows_;
  std::vector<std::vector<Span>> best_;  // of each question, best first
};

/// Exact match and F1 over questions; the loss is the mean over windows.
std::unique_ptr<Scorer> make_answer_scorer(std::shared_ptr<const Windows> windows, Metric metric);

}  // namespace compression::datasets
