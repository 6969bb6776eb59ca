#include "compress/task/metrics.h"

#include <torch/types.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "compress/base/error.h"         // DataError
#include "compress/pipeline/entities.h"  // tag_spans

namespace compression::metrics {
namespace {

/// A metric of nothing is no number: a 0 would pass for a bad one, and of errors for a perfect one.
void require_some(bool some, const char* metric) {
  if (!some) throw DataError(std::string(metric) + ": found nothing to compute it of, expected at least one value");
}

double ratio(double part, double whole) {
  return whole == 0.0 ? 0.0 : part / whole;
}

/// bool [examples, classes], of the classes that occur in either.
std::pair<torch::Tensor, torch::Tensor> one_hot(const torch::Tensor& predicted, const torch::Tensor& expected) {
  const auto classes = std::get<0>(at::_unique(torch::cat({predicted, expected})));
  return {predicted.unsqueeze(1).eq(classes), expected.unsqueeze(1).eq(classes)};
}

/// Ranks from 1; equal values share the mean of theirs.
torch::Tensor ranks(const torch::Tensor& x) {
  const auto values = x.to(torch::kDouble).contiguous();
  const auto sorted = std::get<0>(values.sort());
  // As many values are below as there are before the first, or below and equal up to the last.
  const auto below = torch::searchsorted(sorted, values), up_to = torch::searchsorted(sorted, values, false, true);
  return (below + up_to + 1).to(torch::kDouble) / 2;
}

struct Entity {
  size_t text, begin, end;
  std::string_view type;
  auto operator<=>(const Entity&) const = default;
};

std::set<Entity> entities_of(std::span<const Tags> texts) {
  std::set<Entity> entities;
  for (size_t text = 0; text < texts.size(); ++text) {
    for (const auto& [begin, end, type] : tag_spans(texts[text])) entities.insert({text, begin, end, type});
  }
  return entities;
}

/// \w of Python's re: letters, numbers and _, which is gone by then.
bool is_word(UChar32 c) {
  return (U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_N_MASK)) != 0;
}

/// string.punctuation of Python.
bool is_ascii_punctuation(UChar32 c) {
  return c > ' ' && c < 0x7F && !u_isalnum(c);
}

/// str.split() of Python: what bidirectional class or category calls a space.
bool is_space(UChar32 c) {
  return u_isUWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
}

/// The words of an answer: lower case, without punctuation and articles.
std::vector<std::string> answer_words(std::string_view answer) {
  auto text = icu::UnicodeString::fromUTF8(icu::StringPiece(answer.data(), static_cast<int32_t>(answer.size())));
  text.toLower(icu::Locale::getRoot());
  icu::UnicodeString kept;
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const auto c = text.char32At(i);
    if (!is_ascii_punctuation(c)) kept.append(c);
  }
  // Words between spaces; an article goes where it stands alone among characters that are no part of a word.
  icu::UnicodeString bare;
  for (int32_t i = 0; i < kept.length();) {
    if (!is_word(kept.char32At(i))) {
      bare.append(kept.char32At(i));
      i = kept.moveIndex32(i, 1);
      continue;
    }
    int32_t end = i;
    while (end < kept.length() && is_word(kept.char32At(end))) end = kept.moveIndex32(end, 1);
    const auto run = kept.tempSubStringBetween(i, end);
    if (run == "a" || run == "an" || run == "the") {
      bare.append(static_cast<UChar32>(' '));
    } else {
      bare.append(run);
    }
    i = end;
  }
  std::vector<std::string> words(1);
  for (int32_t i = 0; i < bare.length(); i = bare.moveIndex32(i, 1)) {
    const auto c = bare.char32At(i);
    if (!is_space(c)) {
      icu::UnicodeString(c).toUTF8String(words.back());
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

double word_f1(const std::vector<std::string>& predicted, const std::vector<std::string>& expected) {
  std::map<std::string_view, int64_t> left;
  for (const auto& word : expected) ++left[word];
  const auto same =
      static_cast<double>(std::ranges::count_if(predicted, [&](const std::string& word) { return left[word]-- > 0; }));
  return ratio(2 * same, static_cast<double>(predicted.size() + expected.size()));
}

template <class Score>
double best(std::string_view predicted, std::span<const std::string> expected, Score&& score) {
  require_some(!expected.empty(), "answers");
  const auto own = answer_words(predicted);
  double highest = 0.0;
  for (const auto& answer : expected) highest = std::max<double>(highest, score(own, answer_words(answer)));
  return highest;
}

}  // namespace

double accuracy(const torch::Tensor& predicted, const torch::Tensor& expected) {
  require_some(predicted.size(0) > 0, "accuracy");
  const auto equal = predicted.eq(expected);
  return (equal.dim() == 1 ? equal : equal.all(-1)).to(torch::kDouble).mean().item<double>();
}

double f1(const torch::Tensor& predicted, const torch::Tensor& expected, Average average) {
  require_some(predicted.numel() > 0, "f1");
  auto [own, other] = predicted.dim() > 1 ? std::pair(predicted, expected)
                      : average == Average::binary
                          ? std::pair(predicted.eq(1).unsqueeze(1), expected.eq(1).unsqueeze(1))
                          : one_hot(predicted, expected);
  auto hits = own.logical_and(other).sum(0).to(torch::kDouble);
  auto all = (own.sum(0) + other.sum(0)).to(torch::kDouble);
  if (average == Average::micro) {
    hits = hits.sum(0, true);
    all = all.sum(0, true);
  }
  return torch::where(all == 0, torch::zeros_like(all), 2 * hits / all).mean().item<double>();
}

double matthews(const torch::Tensor& predicted, const torch::Tensor& expected) {
  require_some(predicted.numel() > 0, "matthews");
  const auto [own, other] = one_hot(predicted, expected);
  const auto p = own.sum(0).to(torch::kDouble), t = other.sum(0).to(torch::kDouble);
  const auto n = static_cast<double>(predicted.size(0));
  const auto dot = [](const torch::Tensor& a, const torch::Tensor& b) { return (a * b).sum().item<double>(); };
  const double right = own.logical_and(other).sum().item<double>();
  return ratio(right * n - dot(t, p), std::sqrt((n * n - dot(p, p)) * (n * n - dot(t, t))));
}

double pearson(const torch::Tensor& x, const torch::Tensor& y) {
  require_some(x.numel() > 0, "pearson");
  const auto centred = [](const torch::Tensor& v) { return v.to(torch::kDouble) - v.to(torch::kDouble).mean(); };
  const auto a = centred(x), b = centred(y);
  return ratio((a * b).sum().item<double>(), std::sqrt((a * a).sum().item<double>() * (b * b).sum().item<double>()));
}

double spearman(const torch::Tensor& x, const torch::Tensor& y) {
  require_some(x.numel() > 0, "spearman");
  return pearson(ranks(x), ranks(y));
}

double mean_squared_error(const torch::Tensor& x, const torch::Tensor& y) {
  require_some(x.numel() > 0, "mse");
  return (x.to(torch::kDouble) - y.to(torch::kDouble)).square().mean().item<double>();
}

double entity_f1(std::span<const Tags> predicted, std::span<const Tags> expected) {
  require_some(!expected.empty(), "entity_f1");
  const auto own = entities_of(predicted), other = entities_of(expected);
  const auto hits = static_cast<double>(std::ranges::count_if(own, [&](const Entity& e) { return other.contains(e); }));
  return ratio(2 * hits, static_cast<double>(own.size() + other.size()));
}

double exact_match(std::string_view predicted, std::span<const std::string> expected) {
  return best(predicted, expected, std::equal_to<>());
}

double token_f1(std::string_view predicted, std::span<const std::string> expected) {
  return best(predicted, expected, word_f1);
}

AnswerScore answer_score(std::string_view predicted, std::span<const std::string> expected) {
  const auto own = answer_words(predicted);
  AnswerScore score;
  bool counts = false;
  for (const auto& answer : expected) {
    const auto words = answer_words(answer);
    if (words.empty()) continue;
    counts = true;
    score.exact_match = std::max(score.exact_match, own == words ? 1.0 : 0.0);
    score.f1 = std::max(score.f1, word_f1(own, words));
  }
  if (!counts) score.exact_match = score.f1 = own.empty() ? 1.0 : 0.0;
  return score;
}

}  // namespace compression::metrics
