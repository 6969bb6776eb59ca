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
    finder_.add(batch, logits);
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

void validate(const AnswerConfig& config, Problems& problems) {
  problems.within("threshold", config.threshold, -1e6, 1e6);
  problems.within("n_best", config.n_best, 1, 1000);
  problems.within("longest", config.longest, 1, 100000);
  problems.require(!config.threshold || config.unanswerable, "threshold",
                   "without unanswerable: true, expected both: else every question is answered");
}

const std::string& FoundAnswer::chosen(double threshold) const {
  static const std::string none;
  return no_answer > threshold ? none : text;
}

AnswerFinder::AnswerFinder(std::shared_ptr<const Windows> windows, const AnswerConfig& config)
    : windows_(std::move(windows)),
      config_(config),
      best_(windows_->contexts.size()),
      none_(windows_->contexts.size(), std::numeric_limits<double>::infinity()) {}

void AnswerFinder::add(const Batch& batch, const torch::Tensor& logits) {
  const auto scores = logits.to(torch::kFloat).contiguous();
  for (int64_t row = 0; row < batch.size(); ++row) {
    const auto window = static_cast<size_t>(batch.examples[row].item<int64_t>());
    const auto& tokens = windows_->tokens.at(window);
    const auto count = std::min<int64_t>(static_cast<int64_t>(tokens.size()), scores.size(1));
    const auto own = scores[row].slice(0, 0, count);
    const auto top = [&](int64_t end) {
      const auto [values, places] = own.select(1, end).topk(std::min(config_.n_best, count));
      return std::pair(values.contiguous(), places.contiguous());
    };
    const auto [start_scores, starts] = top(0);
    const auto [end_scores, ends] = top(1);
    const auto question = windows_->question.at(window);
    auto& none = none_.at(question);
    if (config_.unanswerable && count > 0) {
      const auto* first = own.const_data_ptr<float>();
      none = std::min(none, static_cast<double>(first[0]) + first[1]);
    }
    auto& best = best_.at(question);
    for (int64_t s = 0; s < starts.size(0); ++s) {
      for (int64_t e = 0; e < ends.size(0); ++e) {
        const auto first = starts.data_ptr<int64_t>()[s], last = ends.data_ptr<int64_t>()[e];
        if (last < first || last - first + 1 > config_.longest) continue;
        const auto &from = tokens[static_cast<size_t>(first)], &to = tokens[static_cast<size_t>(last)];
        if (from.begin < 0 || to.begin < 0) continue;
        best.push_back({static_cast<double>(start_scores.data_ptr<float>()[s]) + end_scores.data_ptr<float>()[e],
                        {from.begin, to.end}});
      }
    }
    std::ranges::stable_sort(best, std::greater<>(), &Span::score);
    best.resize(std::min(best.size(), static_cast<size_t>(config_.n_best)));
  }
}

std::vector<FoundAnswer> AnswerFinder::answers() const {
  constexpr auto none_found = std::numeric_limits<double>::infinity();
  std::vector<FoundAnswer> answers;
  for (size_t i = 0; i < best_.size(); ++i) {
    auto& found = answers.emplace_back();
    const auto& spans = best_[i];
    const bool may_be_none = std::isfinite(none_[i]);
    if (config_.unanswerable) found.no_answer = spans.empty() ? none_found : none_[i] - spans.front().score;
    const auto highest =
        std::max(spans.empty() ? -none_found : spans.front().score, may_be_none ? none_[i] : -none_found);
    double sum = 0.0;
    const auto add = [&](std::string text, double score) {
      found.candidates.push_back({std::move(text), std::exp(score - highest)});
      sum += found.candidates.back().share;
    };
    bool none_told = !may_be_none;
    const auto text_at = [&](const ByteSpan& place) {
      return windows_->contexts[i].substr(static_cast<size_t>(place.begin),
                                          static_cast<size_t>(place.end - place.begin));
    };
    const auto most = static_cast<size_t>(config_.n_best);
    for (const auto& [score, place] : spans) {
      if (!none_told && none_[i] > score) add("", none_[i]), none_told = true;
      if (found.candidates.size() < most) add(text_at(place), score);
    }
    if (!none_told) add("", none_[i]);
    for (auto& candidate : found.candidates) candidate.share /= sum;
    if (!spans.empty()) found.text = text_at(spans.front().place);
  }
  return answers;
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
