#include "compress/pipeline/answer_finder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "compress/base/error.h"  // ConfigError, DataError

namespace compression {

void validate(const AnswerConfig& config, Problems& problems) {
  problems.within("threshold", config.threshold, -1e6, 1e6);
  problems.within("n_best", config.n_best, 1, 1000);
  problems.within("longest", config.longest, 1, 100000);
  problems.require(!config.threshold || config.unanswerable, "threshold",
                   "without unanswerable: true, expected both: else every question is answered");
}

void add_windows(const TextInput& input, const Tokenizer& tokenizer, int64_t max_length, std::optional<int64_t> stride,
                 const std::string& place, Windows& windows, std::vector<Encoding>& encodings) {
  const EncodeOptions options{.max_length = max_length, .truncation = Truncation::kOnlySecond, .offsets = true};
  std::vector<Encoding> own;
  try {
    own = tokenizer.encode_windows(input, options, stride.value_or(max_length / 3));
  } catch (const ConfigError& error) {
    throw DataError(fmt::format("{}: the question leaves too little room for its context: {}", place, error.what()));
  }
  for (auto& window : own) {
    windows.question.push_back(windows.contexts.size());
    auto tokens = window.offsets;
    for (size_t t = 0; t < tokens.size(); ++t) {
      if (window.sequence_ids[t] != 1) tokens[t] = {-1, -1};
    }
    windows.tokens.push_back(std::move(tokens));
    encodings.push_back(std::move(window));
  }
  windows.contexts.push_back(input.pair.value_or(""));
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

void AnswerFinder::add(size_t window, std::span<const float> logits) {
  const auto& tokens = windows_->tokens.at(window);
  const auto count = std::min(tokens.size(), logits.size() / 2);
  const auto most = std::min(static_cast<size_t>(config_.n_best), count);
  const auto top = [&](size_t end) {
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    const auto score = [&](size_t token) {  // NaN is below all
      const auto logit = logits[2 * token + end];
      return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
    };
    std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(most), [&](size_t a, size_t b) {
      return score(a) > score(b) || (score(a) == score(b) && a < b);
    });
    order.resize(most);
    return order;
  };
  const auto starts = top(0), ends = top(1);
  const auto question = windows_->question.at(window);
  auto& none = none_.at(question);
  if (config_.unanswerable && count > 0) none = std::min(none, static_cast<double>(logits[0]) + logits[1]);
  auto& best = best_.at(question);
  for (const auto first : starts) {
    for (const auto last : ends) {
      if (last < first || static_cast<int64_t>(last - first) >= config_.longest) continue;
      const auto &from = tokens[first], &to = tokens[last];
      if (from.begin < 0 || to.begin < 0) continue;
      best.push_back({static_cast<double>(logits[2 * first]) + logits[2 * last + 1], {from.begin, to.end}});
    }
  }
  std::ranges::stable_sort(best, std::greater<>(), &Span::score);
  best.resize(std::min(best.size(), static_cast<size_t>(config_.n_best)));
}

std::vector<FoundAnswer> AnswerFinder::answers() const {
  constexpr auto none_found = std::numeric_limits<double>::infinity();
  constexpr ByteSpan no_place{-1, -1};
  std::vector<FoundAnswer> answers;
  for (size_t i = 0; i < best_.size(); ++i) {
    auto& found = answers.emplace_back();
    const auto& spans = best_[i];
    const bool may_be_none = std::isfinite(none_[i]);
    if (config_.unanswerable) found.no_answer = spans.empty() ? none_found : none_[i] - spans.front().score;
    const auto highest =
        std::max(spans.empty() ? -none_found : spans.front().score, may_be_none ? none_[i] : -none_found);
    double sum = 0.0;
    const auto add = [&](std::string text, double score, const ByteSpan& place) {
      found.candidates.push_back({std::move(text), std::exp(score - highest), place});
      sum += found.candidates.back().share;
    };
    bool none_told = !may_be_none;
    const auto text_at = [&](const ByteSpan& place) {
      return windows_->contexts[i].substr(static_cast<size_t>(place.begin),
                                          static_cast<size_t>(place.end - place.begin));
    };
    const auto most = static_cast<size_t>(config_.n_best);
    for (const auto& [score, place] : spans) {
      if (!none_told && none_[i] > score) add("", none_[i], no_place), none_told = true;
      if (found.candidates.size() < most) add(text_at(place), score, place);
    }
    if (!none_told) add("", none_[i], no_place);
    for (auto& candidate : found.candidates) candidate.share /= sum;
    if (!spans.empty()) {
      found.place = spans.front().place;
      found.text = text_at(found.place);
    }
  }
  return answers;
}

}  // namespace compression
