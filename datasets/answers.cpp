#include "datasets/answers.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "compress/task/task.h"  // find_task

namespace compression::datasets {
namespace {

class AnswerScorer : public Scorer {
 public:
  AnswerScorer(std::shared_ptr<const Windows> windows, Metric metric, const AnswerConfig& config)
      : windows_(windows), finder_(std::move(windows), config), metric_(metric), config_(config) {}

  void add(const Batch& batch, const torch::Tensor& logits) override {
    datasets::add(batch, logits, finder_);
    const auto& task = find_task(first_task(HeadKind::spans).type);
    loss_ += static_cast<double>(batch.size()) *
             task.label_loss(logits.to(torch::kDouble), batch.at("labels"), batch.attention_mask()).item<double>();
    rows_ += batch.size();
  }

  Evaluation result() const override {
    const auto found = finder_.answers();
    Evaluation result{.metric = metric_,
                      .total = static_cast<int64_t>(found.size()),
                      .loss = loss_ / static_cast<double>(std::max<int64_t>(rows_, 1))};
    config_.unanswerable ? score_with_none(found, result) : score(found, result);
    return result;
  }

 private:
  static double mean(double sum, size_t count) { return sum / static_cast<double>(std::max<size_t>(count, 1)); }

  void score(const std::vector<FoundAnswer>& found, Evaluation& result) const {
    double exact = 0.0, f1 = 0.0;
    for (size_t i = 0; i < found.size(); ++i) {
      exact += metrics::exact_match(found[i].text, windows_->answers[i]);
      f1 += metrics::token_f1(found[i].text, windows_->answers[i]);
    }
    result.values = {{Metric::exact_match, mean(exact, found.size())}, {Metric::f1, mean(f1, found.size())}};
    result.correct = static_cast<int64_t>(exact);
  }

  double threshold_for(const std::vector<FoundAnswer>& found, const std::vector<metrics::AnswerScore>& of_spans) const {
    if (config_.threshold) return *config_.threshold;
    std::vector<double> no_answer, scores;
    std::vector<bool> has_answer;
    for (size_t i = 0; i < found.size(); ++i) {
      no_answer.push_back(found[i].no_answer);
      has_answer.push_back(!windows_->answers[i].empty());
      scores.push_back(metric_ == Metric::exact_match ? of_spans[i].exact_match : of_spans[i].f1);
    }
    return best_threshold(no_answer, scores, has_answer);
  }

  void score_with_none(const std::vector<FoundAnswer>& found, Evaluation& result) const {
    std::vector<metrics::AnswerScore> of_spans;
    for (size_t i = 0; i < found.size(); ++i) {
      of_spans.push_back(metrics::answer_score(found[i].text, windows_->answers[i]));
    }
    const auto threshold = threshold_for(found, of_spans);
    metrics::AnswerScore answered;  // sums over the questions that have an answer
    double none = 0.0;              // right ones of those that have none
    size_t answerable = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      const bool refused = found[i].no_answer > threshold;
      if (windows_->answers[i].empty()) {
        none += refused ? 1.0 : of_spans[i].exact_match;
        continue;
      }
      ++answerable;
      if (refused) continue;
      answered.exact_match += of_spans[i].exact_match;
      answered.f1 += of_spans[i].f1;
    }
    const auto unanswerable = found.size() - answerable;
    result.values = {{Metric::exact_match, mean(answered.exact_match + none, found.size())},
                     {Metric::f1, mean(answered.f1 + none, found.size())}};
    if (answerable > 0) {
      result.values[Metric::has_answer_exact_match] = mean(answered.exact_match, answerable);
      result.values[Metric::has_answer_f1] = mean(answered.f1, answerable);
    }
    if (unanswerable > 0) result.values[Metric::no_answer_accuracy] = mean(none, unanswerable);
    result.correct = static_cast<int64_t>(answered.exact_match + none);
    result.threshold = threshold;
  }

  std::shared_ptr<const Windows> windows_;
  AnswerFinder finder_;
  Metric metric_;
  AnswerConfig config_;
  double loss_ = 0.0;
  int64_t rows_ = 0;
};

}  // namespace

std::pair<int64_t, int64_t> answer_tokens(const std::vector<ByteSpan>& tokens, const Answer& answer) {
  const auto end = answer.begin + static_cast<int64_t>(answer.text.size());
  const auto count = static_cast<int64_t>(tokens.size());
  const auto of_context = [&](int64_t i) { return tokens[static_cast<size_t>(i)].begin >= 0; };
  int64_t first = 0, last = count - 1;
  while (first < count && !of_context(first)) ++first;
  while (last >= 0 && !of_context(last)) --last;
  const auto& at = [&](int64_t i) -> const ByteSpan& { return tokens[static_cast<size_t>(i)]; };
  if (first > last || at(first).begin > answer.begin || at(last).end < end) return {0, 0};
  const auto end_of_context = last;
  while (first <= end_of_context && at(first).begin <= answer.begin) ++first;
  while (last >= 0 && of_context(last) && at(last).end >= end) --last;
  return {first - 1, last + 1};
}

void add(const Batch& batch, const torch::Tensor& logits, AnswerFinder& finder) {
  const auto scores = logits.to(torch::kFloat).contiguous();
  const auto numbers = static_cast<size_t>(scores.size(1) * scores.size(2));
  for (int64_t row = 0; row < batch.size(); ++row) {
    finder.add(static_cast<size_t>(batch.examples[row].item<int64_t>()),
               {scores.const_data_ptr<float>() + static_cast<size_t>(row) * numbers, numbers});
  }
}

double best_threshold(std::span<const double> no_answer, std::span<const double> scores,
                      const std::vector<bool>& has_answer) {
  std::vector<size_t> order(no_answer.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::less<>(), [&](size_t i) { return no_answer[i]; });
  auto sum = static_cast<double>(std::ranges::count(has_answer, false)), best = sum;
  // Nothing is answered below the least; where no span was found, nothing is by any threshold.
  double threshold = 0.0;
  if (!order.empty() && std::isfinite(no_answer[order.front()])) {
    threshold = std::nextafter(no_answer[order.front()], -std::numeric_limits<double>::infinity());
  }
  for (size_t k = 0; k < order.size(); ++k) {
    const auto i = order[k];
    if (!std::isfinite(no_answer[i])) break;
    sum += has_answer[i] ? scores[i] : -1.0;
    const bool together = k + 1 < order.size() && no_answer[order[k + 1]] == no_answer[i];
    if (together || sum <= best) continue;
    best = sum;
    threshold = no_answer[i];
  }
  return threshold;
}

std::unique_ptr<Scorer> make_answer_scorer(std::shared_ptr<const Windows> windows, Metric metric,
                                           const AnswerConfig& config) {
  return std::make_unique<AnswerScorer>(std::move(windows), metric, config);
}

}  // namespace compression::datasets
