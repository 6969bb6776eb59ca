#include "compress/serve/plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace compression::serve {
namespace {

/// What refuses a text says which it was.
template <class Read>
Reading read_one(size_t text, size_t texts, Read&& read_text) {
  try {
    return read_text();
  } catch (const RequestError& error) {
    if (texts == 1) throw;
    throw RequestError(error.status(), error.type(), fmt::format("text {}: {}", text + 1, error.what()));
  }
}

}  // namespace

void check_count(const Service& service, size_t texts) {
  const auto most = service.settings().max_texts;
  if (texts <= static_cast<size_t>(most)) return;
  throw RequestError(413, ErrorType::validation,
                     fmt::format("found {} texts, expected at most {} in a request", texts, most));
}

std::vector<Reading> read_inputs(const Service& service, const Served& served, Inputs inputs,
                                 const ReadOptions& options) {
  auto& items = inputs.items;
  check_count(service, items.size());
  std::vector<Reading> readings;
  for (size_t i = 0; i < items.size(); ++i) {
    readings.push_back(read_one(i, items.size(), [&] {
      if (auto* ids = std::get_if<std::vector<int64_t>>(&items[i]))
        return served.model->read(std::move(*ids), {}, options);
      return served.model->read({.text = std::move(std::get<std::string>(items[i]))}, options);
    }));
  }
  return readings;
}

std::vector<Reading> read_texts(const Service& service, const Served& served, std::vector<TextInput> texts,
                                const ReadOptions& options) {
  check_count(service, texts.size());
  std::vector<Reading> readings;
  for (size_t i = 0; i < texts.size(); ++i) {
    readings.push_back(read_one(i, texts.size(), [&] { return served.model->read(std::move(texts[i]), options); }));
  }
  return readings;
}

bool embeds(const ModelInfo& info) {
  return traits_of(info.head.task).head == HeadKind::embedding;
}

bool classifies(const ModelInfo& info) {
  return traits_of(info.head.task).head == HeadKind::text;
}

std::vector<float> cut_vector(const std::vector<float>& vector, std::optional<Count> dimensions, bool normalize) {
  std::vector<float> cut(vector.begin(), dimensions ? vector.begin() + dimensions->value : vector.end());
  if (!normalize) return cut;
  double sum = 0.0;
  for (const auto x : cut) sum += static_cast<double>(x) * x;
  const auto norm = std::sqrt(sum);
  if (norm > 0.0) {
    for (auto& x : cut) x = static_cast<float>(x / norm);
  }
  return cut;
}

void check_dimensions(const Served& served, std::optional<Count> dimensions) {
  const auto width = served.info().width;
  if (!dimensions || dimensions->value <= width) return;
  throw RequestError(422, ErrorType::validation,
                     fmt::format("dimensions: found {}, expected from 1 to {}, the numbers of {}'s vectors",
                                 dimensions->value, width, served.name));
}

std::vector<float> scores_of(const ModelInfo& info, std::vector<float> logits, bool raw) {
  const auto labels = traits_of(info.head.task).labels;
  if (raw || labels == LabelKind::number) return logits;
  if (labels == LabelKind::class_names) {
    for (auto& x : logits) x = 1.0f / (1.0f + std::exp(-x));
    return logits;
  }
  const auto largest = *std::ranges::max_element(logits);
  double sum = 0.0;
  for (const auto x : logits) sum += std::exp(static_cast<double>(x) - largest);
  for (auto& x : logits) x = static_cast<float>(std::exp(static_cast<double>(x) - largest) / sum);
  return logits;
}

}  // namespace compression::serve
