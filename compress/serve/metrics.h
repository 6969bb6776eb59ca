#pragma once
// Counters, gauges and histograms, as Prometheus and OpenMetrics read them.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression::serve {

/// A number that any thread adds to.
class Number {
 public:
  void add(double by = 1.0) { value_ += by; }
  void set(double to) { value_ = to; }
  double value() const { return value_; }

 private:
  std::atomic<double> value_{0.0};
};

/// How many observations were at most each bound.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  /// Of those at most bounds()[i]; the last is of all.
  std::vector<uint64_t> cumulative() const;
  double sum() const { return sum_; }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;
  std::atomic<double> sum_{0.0};
};

/// Bounds for seconds: 0.5 ms to 30 s.
std::vector<double> second_bounds();
/// Powers of two: 1 to `last`.
std::vector<double> power_bounds(double last);

/// Makes each metric when it is first asked for; what it gave out lives as long as it. Any thread may call it.
class Metrics {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string>>;

  /// A counter's name is without the _total that its lines have.
  Number& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Number& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                       const Labels& labels = {});

  /// Version 0.0.4 of Prometheus' text, or OpenMetrics 1.0.0.
  std::string text(bool open_metrics) const;

 private:
  enum class Kind { counter, gauge, histogram };
  struct Family {
    Kind kind;
    std::string help;
    std::map<std::string, std::unique_ptr<Number>> numbers = {};  // by labels: model="a",route="/embed"
    std::map<std::string, std::unique_ptr<Histogram>> histograms = {};
  };
  Family& family(std::string_view name, std::string_view help, Kind kind);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace compression::serve
