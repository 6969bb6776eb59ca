#include "compress/pipeline/prediction.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <ranges>
#include <stdexcept>

#include "compress/base/message.h"       // printable
#include "compress/pipeline/entities.h"  // tag_spans

namespace compression {
namespace {

using nlohmann::json;

std::vector<float> softmax(std::span<const float> logits) {
  const auto highest = *std::ranges::max_element(logits);
  std::vector<float> shares;
  float sum = 0.0f;
  for (const auto logit : logits) sum += shares.emplace_back(std::exp(logit - highest));
  for (auto& share : shares) share /= sum;
  return shares;
}

size_t best_of(std::span<const float> values) {
  return static_cast<size_t>(std::ranges::max_element(values) - values.begin());
}

json scores_of(const std::vector<std::string>& classes, const std::vector<float>& shares) {
  json scores = json::object();
  for (size_t c = 0; c < classes.size(); ++c) scores[classes[c]] = static_cast<double>(shares.at(c));
  return scores;
}

Answer class_answer(const Prediction& prediction, const std::vector<std::string>& classes) {
  const auto best = prediction.classes.front();
  const double share = prediction.shares[best];
  return {fmt::format("{}\t{:.4f}", printable(classes.at(best)), share),
          {{"label", classes[best]}, {"score", share}, {"scores", scores_of(classes, prediction.shares)}}};
}

Answer classes_answer(const Prediction& prediction, const std::vector<std::string>& classes) {
  Answer answer{"", {{"labels", json::array()}, {"scores", scores_of(classes, prediction.shares)}}};
  for (const auto c : prediction.classes) {
    answer.object["labels"].push_back(classes.at(c));
    answer.text +=
        fmt::format("{}{}:{:.4f}", answer.text.empty() ? "" : "\t", printable(classes[c]), prediction.shares[c]);
  }
  return answer;
}

json with_place(json object, const std::string& text, const ByteSpan& place) {
  object["start"] = characters_before(text, place.begin);
  object["end"] = characters_before(text, place.end);
  return object;
}

Answer tags_answer(const Prediction& prediction, const TaskHead& head, const std::string& text) {
  Answer answer{"", {{"words", prediction.words}, {"tags", prediction.tags}}};
  for (size_t i = 0; i < prediction.words.size(); ++i) {
    answer.text += fmt::format("{}{}/{}", answer.text.empty() ? "" : " ", printable(prediction.words[i]),
                               printable(prediction.tags[i]));
  }
  if (!std::ranges::all_of(head.labels, is_entity_tag)) return answer;
  auto& entities = answer.object["entities"] = json::array();
  for (const auto& entity : prediction.entities) {
    entities.push_back(
        with_place({{"entity", entity.type}, {"text", entity.text}, {"score", entity.share}}, text, entity.place));
  }
  return answer;
}

Answer span_answer(const FoundAnswer& found, const std::string& context, const AnswerConfig& config, int64_t shown) {
  const auto& text = found.chosen(config.threshold.value_or(0.0));
  const auto own = std::ranges::find(found.candidates, text, &FoundAnswer::Candidate::text);
  const double share = own == found.candidates.end() ? 0.0 : own->share;
  const auto placed = [&](json object, const ByteSpan& place) {
    return place.begin < 0 ? object : with_place(std::move(object), context, place);
  };
  Answer answer{fmt::format("{}\t{:.4f}", printable(text), share),
                placed({{"answer", text}, {"score", share}}, text.empty() ? ByteSpan{-1, -1} : found.place)};
  if (config.unanswerable) answer.object["no_answer"] = found.no_answer;
  if (shown == 0) return answer;
  auto& candidates = answer.object["candidates"] = json::array();
  for (const auto& candidate : found.candidates | std::views::take(shown)) {
    candidates.push_back(placed({{"answer", candidate.text}, {"score", candidate.share}}, candidate.place));
  }
  return answer;
}

Answer masks_answer(const Prediction& prediction, const std::string& text) {
  Answer answer{"", {{"masks", json::array()}}};
  for (const auto& mask : prediction.masks) {
    const auto& best = mask.words.front();
    answer.text += fmt::format("{}{}\t{:.4f}", answer.text.empty() ? "" : "\t", printable(best.token), best.share);
    auto words = json::array();
    for (const auto& [token, share] : mask.words) words.push_back({{"token", token}, {"score", share}});
    answer.object["masks"].push_back(with_place({{"words", words}}, text, mask.place));
  }
  return answer;
}

}  // namespace

Prediction text_prediction(const TaskHead& head, std::span<const float> logits) {
  Prediction prediction;
  switch (traits_of(head.task).labels) {
    case LabelKind::class_name:
      prediction.shares = softmax(logits);
      prediction.classes = {best_of(prediction.shares)};
      return prediction;
    case LabelKind::class_names:
      for (size_t c = 0; c < logits.size(); ++c) {
        prediction.shares.push_back(1.0f / (1.0f + std::exp(-logits[c])));
        if (logits[c] > 0) prediction.classes.push_back(c);
      }
      return prediction;
    case LabelKind::number:
      prediction.number = logits.front();
      return prediction;
    case LabelKind::cosine:
      prediction.vector.assign(logits.begin(), logits.end());
      return prediction;
    case LabelKind::none:
    case LabelKind::tags:
    case LabelKind::answers:
      break;
  }
  throw std::logic_error("a prediction of one row of logits");
}

std::vector<PlacedWord> words_of(std::string_view text) {
  constexpr std::string_view spaces = " \t\n\v\f\r";
  std::vector<PlacedWord> words;
  for (auto begin = text.find_first_not_of(spaces); begin != std::string_view::npos;
       begin = text.find_first_not_of(spaces, begin)) {
    const auto end = std::min(text.find_first_of(spaces, begin), text.size());
    words.push_back(
        {std::string(text.substr(begin, end - begin)), {static_cast<int64_t>(begin), static_cast<int64_t>(end)}});
    begin = end;
  }
  return words;
}

Prediction tags_prediction(const TaskHead& head, std::span<const float> logits, const std::string& text,
                           const std::vector<PlacedWord>& words, const Encoding& encoding) {
  Prediction prediction;
  std::vector<double> shares;
  std::vector<ByteSpan> places;
  const auto count = head.labels.size();
  for (const auto& [token, word] : word_starts(encoding)) {
    const auto own = softmax(logits.subspan(token * count, count));
    const auto best = best_of(own);
    prediction.words.push_back(words.at(word).text);
    prediction.tags.push_back(head.labels[best]);
    shares.push_back(own[best]);
    places.push_back(words[word].place);
  }
  if (!std::ranges::all_of(head.labels, is_entity_tag)) return prediction;
  for (const auto& [begin, end, type] : tag_spans(prediction.tags)) {
    auto& entity = prediction.entities.emplace_back();
    entity.type = type;
    entity.place = {places[begin].begin, places[end - 1].end};
    entity.text = text.substr(static_cast<size_t>(entity.place.begin),
                              static_cast<size_t>(entity.place.end - entity.place.begin));
    for (auto i = begin; i < end; ++i) entity.share += shares[i] / static_cast<double>(end - begin);
  }
  return prediction;
}

int64_t characters_before(std::string_view text, int64_t byte) {
  const auto before = text.substr(0, static_cast<size_t>(std::max<int64_t>(byte, 0)));
  return std::ranges::count_if(before, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Answer shown(const Prediction& prediction, const TaskHead& head, const TextInput& input, const AnswerConfig& answers,
             int64_t candidates) {
  switch (traits_of(head.task).labels) {
    case LabelKind::class_name:
      return class_answer(prediction, head.labels);
    case LabelKind::class_names:
      return classes_answer(prediction, head.labels);
    case LabelKind::number:
      return {fmt::format("{:.4f}", prediction.number), {{"score", static_cast<double>(prediction.number)}}};
    case LabelKind::cosine:
      return {fmt::format("{}", fmt::join(prediction.vector, " ")), {{"embedding", prediction.vector}}};
    case LabelKind::tags:
      return tags_answer(prediction, head, input.text);
    case LabelKind::answers:
      return span_answer(prediction.answer, input.pair.value_or(""), answers, candidates);
    case LabelKind::none:
      return masks_answer(prediction, input.text);
  }
  throw std::logic_error("a prediction of no kind");
}

}  // namespace compression
