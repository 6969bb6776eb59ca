#include "datasets/answers.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "compress/task/task.h"  // label_loss

namespace compression::datasets {
namespace {

class AnswerScorer : public Scorer {
 public:
  AnswerScorer(std::shared_ptr<const Windows> windows, Metric metric)
      : windows_(windows), finder_(std::move(windows)), metric_(metric) {}

  void add(const Batch& batch, const torch::Tensor& logits) override {
    finder_.add(batch, logits);
    loss_ += static_cast<double>(batch.size()) *
             label_loss(TaskType::question_answering, logits.to(torch::kDouble), batch.labels, batch.attention_mask)
                 .item<double>();
    rows_ += batch.size();
  }

  Evaluation result() const override {
    const auto found = finder_.answers();
    double exact = 0.0, f1 = 0.0;
    for (size_t i = 0; i < found.size(); ++i) {
      exact += metrics::exact_match(found[i].text, windows_->answers[i]);
      f1 += metrics::token_f1(found[i].text, windows_->answers[i]);
    }
    const auto count = static_cast<double>(std::max<size_t>(found.size(), 1));
    return {.metric = metric_,
            .values = {{Metric::exact_match, exact / count}, {Metric::f1, f1 / count}},
            .correct = static_cast<int64_t>(exact),
            .total = static_cast<int64_t>(found.size()),
            .loss = loss_ / static_cast<double>(std::max<int64_t>(rows_, 1))};
  }

 private:
  std::shared_ptr<const Windows> windows_;
  AnswerFinder finder_;
  Metric metric_;
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

AnswerFinder::AnswerFinder(std::shared_ptr<const Windows> windows)
    : windows_(std::move(windows)), best_(windows_->contexts.size()) {}

void AnswerFinder::add(const Batch& batch, const torch::Tensor& logits) {
  const auto scores = logits.to(torch::kFloat).contiguous();
  for (int64_t row = 0; row < batch.size(); ++row) {
    const auto window = static_cast<size_t>(batch.examples[row].item<int64_t>());
    const auto& tokens = windows_->tokens.at(window);
    const auto count = std::min<int64_t>(static_cast<int64_t>(tokens.size()), scores.size(1));
    const auto own = scores[row].slice(0, 0, count);
    const auto top = [&](int64_t end) {
      const auto [values, places] = own.select(1, end).topk(std::min(candidates, count));
      return std::pair(values.contiguous(), places.contiguous());
    };
    const auto [start_scores, starts] = top(0);
    const auto [end_scores, ends] = top(1);
    auto& best = best_.at(windows_->question.at(window));
    for (int64_t s = 0; s < starts.size(0); ++s) {
      for (int64_t e = 0; e < ends.size(0); ++e) {
        const auto first = starts.data_ptr<int64_t>()[s], last = ends.data_ptr<int64_t>()[e];
        if (last < first || last - first + 1 > longest) continue;
        const auto &from = tokens[static_cast<size_t>(first)], &to = tokens[static_cast<size_t>(last)];
        if (from.begin < 0 || to.begin < 0) continue;
        best.push_back({static_cast<double>(start_scores.data_ptr<float>()[s]) + end_scores.data_ptr<float>()[e],
                        {from.begin, to.end}});
      }
    }
    std::ranges::stable_sort(best, std::greater<>(), &Span::score);
    best.resize(std::min(best.size(), static_cast<size_t>(candidates)));
  }
}

std::vector<FoundAnswer> AnswerFinder::answers() const {
  std::vector<FoundAnswer> answers;
  for (size_t i = 0; i < best_.size(); ++i) {
    answers.emplace_back();
    if (best_[i].empty()) continue;
    const auto& [score, place] = best_[i].front();
    double sum = 0.0;
    for (const auto& span : best_[i]) sum += std::exp(span.score - score);
    answers.back() = {
        windows_->contexts[i].substr(static_cast<size_t>(place.begin), static_cast<size_t>(place.end - place.begin)),
        1.0 / sum};
  }
  return answers;
}

std::unique_ptr<Scorer> make_answer_scorer(std::shared_ptr<const Windows> windows, Metric metric) {
  return std::make_unique<AnswerScorer>(std::move(windows), metric);
}

}  // namespace compression::datasets
