#pragma once
// Extractive question answering: which part of the context the logits of its windows say, or that it has no answer.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/base/fields.h"          // Problems
#include "compress/tokenizer/tokenizer.h"  // ByteSpan, Encoding, Tokenizer

namespace compression {

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

/// Cuts the context of the question (the pair's second text) into windows of at most max_length tokens, which share
/// `stride` of them (absent: a third), and appends them to both. `place` begins the message of the DataError that is
/// thrown where the question leaves no room.
void add_windows(const TextInput& input, const Tokenizer& tokenizer, int64_t max_length, std::optional<int64_t> stride,
                 const std::string& place, Windows& windows, std::vector<Encoding>& encodings);

/// What the logits say of one question.
struct FoundAnswer {
  struct Candidate {
    std::string text;           // empty: that there is no answer
    double share = 0.0;         // of the softmax over the candidates' sums of logits
    ByteSpan place = {-1, -1};  // in the context; {-1, -1}: no answer
  };
  std::vector<Candidate> candidates;  // best first; with `unanswerable` that there is no answer is among them
  std::string text;                   // of the best that is an answer; empty where no span was found
  ByteSpan place = {-1, -1};          // its bytes in the context
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

  /// logits: [tokens, 2] of a window, or of more tokens, whose rest is padding.
  void add(size_t window, std::span<const float> logits);

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

}  // namespace compression
