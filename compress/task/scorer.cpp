#include "compress/task/scorer.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "compress/base/fields.h"  // enum_name

namespace compression {

double Evaluation::value() const {
  const auto found = values.find(metric);
  return found == values.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

bool Evaluation::better_than(const Evaluation& other) const {
  if (better(value(), other.value(), metric)) return true;
  if (better(other.value(), value(), metric)) return false;
  return loss < other.loss || (!std::isnan(loss) && std::isnan(other.loss));
}

bool Evaluation::within(const Evaluation& base, double max_drop) const {
  return compression::within(value(), base.value(), max_drop, metric);
}

void to_json(nlohmann::json& json, const Evaluation& evaluation) {
  json = {{"metric", enum_name(evaluation.metric)},
          {"correct", evaluation.correct},
          {"total", evaluation.total},
          {"loss", evaluation.loss}};
  for (const auto& [metric, value] : evaluation.values) json[std::string(enum_name(metric))] = value;
  if (evaluation.threshold) json["threshold"] = *evaluation.threshold;
}

void from_json(const nlohmann::json& json, Evaluation& evaluation) {
  const auto number = [&](std::string_view key) {  // JSON has null for what is none
    const auto& value = json.at(std::string(key));
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  };
  evaluation = {.correct = json.at("correct"), .total = json.at("total"), .loss = number("loss")};
  if (json.contains("threshold")) evaluation.threshold = number("threshold");
  for (const auto& [metric, name] : enum_names(Metric{})) {
    if (json.at("metric") == name) evaluation.metric = metric;
    if (json.contains(name)) evaluation.values[metric] = number(name);
  }
}

std::string describe(const Evaluation& evaluation) {
  const auto value_text = [&](Metric metric, double value) {
    const bool counts = metric == Metric::accuracy || metric == Metric::exact_match;
    return fmt::format("{} {:.4f}{}", enum_name(metric), value,
                       counts ? fmt::format(" ({} of {})", evaluation.correct, evaluation.total) : "");
  };
  std::string text = value_text(evaluation.metric, evaluation.value());
  for (const auto& [metric, value] : evaluation.values) {
    if (metric != evaluation.metric) text += ", " + value_text(metric, value);
  }
  if (evaluation.threshold) text += fmt::format(", threshold {:.4f}", *evaluation.threshold);
  return text + fmt::format(", loss {:.4f}", evaluation.loss);
}

}  // namespace compression
