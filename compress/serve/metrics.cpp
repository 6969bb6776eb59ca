#include "compress/serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace compression::serve {
namespace {

std::string label_text(const Metrics::Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    text += fmt::format("{}{}=\"", text.empty() ? "" : ",", name);
    for (const char c : value)
      text += c == '\n' ? "\\n" : c == '"' || c == '\\' ? fmt::format("\\{}", c) : std::string(1, c);
    text += '"';
  }
  return text;
}

std::string in_braces(const std::string& labels, const std::string& more = "") {
  const auto* between = labels.empty() || more.empty() ? "" : ",";
  return labels.empty() && more.empty() ? "" : fmt::format("{{{}{}{}}}", labels, between, more);
}

}  // namespace

void Histogram::observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
}

std::vector<uint64_t> Histogram::cumulative() const {
  std::vector<uint64_t> sums;
  uint64_t sum = 0;
  for (const auto& count : counts_) sums.push_back(sum += count);
  return sums;
}

std::vector<double> second_bounds() {
  return {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0};
}

std::vector<double> power_bounds(double last) {
  std::vector<double> bounds;
  for (double bound = 1.0; bound <= last; bound *= 2.0) bounds.push_back(bound);
  return bounds;
}

Metrics::Family& Metrics::family(std::string_view name, std::string_view help, Kind kind) {
  const auto found = families_.find(name);
  if (found != families_.end()) return found->second;
  return families_.emplace(name, Family{.kind = kind, .help = std::string(help)}).first->second;
}

Number& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  const std::lock_guard lock(mutex_);
  auto& own = family(name, help, Kind::counter).numbers[label_text(labels)];
  if (!own) own = std::make_unique<Number>();
  return *own;
}

Number& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  const std::lock_guard lock(mutex_);
  auto& own = family(name, help, Kind::gauge).numbers[label_text(labels)];
  if (!own) own = std::make_unique<Number>();
  return *own;
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                              const Labels& labels) {
  const std::lock_guard lock(mutex_);
  auto& own = family(name, help, Kind::histogram).histograms[label_text(labels)];
  if (!own) own = std::make_unique<Histogram>(bounds);
  return *own;
}

std::string Metrics::text(bool open_metrics) const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const auto& [name, family] : families_) {
    const bool counts = family.kind == Kind::counter;
    const auto sample = counts ? name + "_total" : name;
    const auto& told = open_metrics ? name : sample;
    const auto* kind = counts ? "counter" : family.kind == Kind::gauge ? "gauge" : "histogram";
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", told, family.help, told, kind);
    for (const auto& [labels, number] : family.numbers) {
      text += fmt::format("{}{} {}\n", sample, in_braces(labels), number->value());
    }
    for (const auto& [labels, histogram] : family.histograms) {
      const auto counted = histogram->cumulative();
      for (size_t i = 0; i < counted.size(); ++i) {
        const auto bound = i < histogram->bounds().size() ? fmt::format("{}", histogram->bounds()[i]) : "+Inf";
        text += fmt::format("{}_bucket{} {}\n", name, in_braces(labels, "le=\"" + bound + '"'), counted[i]);
      }
      text +=
          fmt::format("{0}_sum{1} {2}\n{0}_count{1} {3}\n", name, in_braces(labels), histogram->sum(), counted.back());
    }
  }
  return open_metrics ? text + "# EOF\n" : text;
}

}  // namespace compression::serve
