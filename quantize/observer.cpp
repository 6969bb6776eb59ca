#include "quantize/observer.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "compress/base/error.h"  // DataError

namespace compression::quantize {
namespace {

constexpr double levels = 127.0;
constexpr double smallest_limit = 1e-30;

class MinMax : public Observer {
 protected:
  void observe(const torch::Tensor&, double largest) override { largest_ = std::max(largest_, largest); }
  double limit() const override { return largest_; }

 private:
  double largest_ = 0.0;
};

class MovingAverage : public Observer {
 protected:
  void observe(const torch::Tensor& x, double) override {
    const auto [low, high] = x.aminmax();
    const auto follow = [&](double& average, double now) { average += (first_ ? 1.0 : factor) * (now - average); };
    follow(low_, low.item<double>());
    follow(high_, high.item<double>());
    first_ = false;
  }
  double limit() const override { return std::max({-low_, high_, 0.0}); }

 private:
  static constexpr double factor = 0.01;
  bool first_ = true;
  double low_ = 0.0, high_ = 0.0;
};

/// Counts magnitudes in equal bins from 0 to a range. The range is the power of two above the largest, so that the
/// counts are the same in whatever order and batches the values come.
class HistogramObserver : public Observer {
 protected:
  static constexpr size_t bins = 4096;

  void observe(const torch::Tensor& x, double largest) override {
    largest_ = std::max(largest_, largest);
    if (range_ == 0.0 && largest > smallest_limit) range_ = std::exp2(std::floor(std::log2(largest)) + 1.0);
    while (range_ > 0.0 && range_ <= largest) widen();
    const double per_unit = range_ > 0.0 ? static_cast<double>(bins) / range_ : 0.0;
    const auto* values = x.data_ptr<float>();
    for (int64_t i = 0; i < x.numel(); ++i) {
      counts_[std::min(static_cast<size_t>(std::abs(values[i]) * per_unit), bins - 1)] += 1.0;
    }
    total_ += static_cast<double>(x.numel());
  }

  double limit() const override { return range_ == 0.0 ? 0.0 : std::min(chosen(), largest_); }

  /// The limit, where not all values are 0.
  virtual double chosen() const = 0;

  double width() const { return range_ / static_cast<double>(bins); }
  double edge(size_t bin) const { return static_cast<double>(bin) * width(); }

  /// Bins up to the last that has values.
  size_t used() const {
    size_t end = bins;
    while (end > 1 && counts_[end - 1] == 0.0) --end;
    return end;
  }

  std::vector<double> counts_ = std::vector<double>(bins);
  double total_ = 0.0, largest_ = 0.0;

 private:
  void widen() {
    range_ *= 2.0;
    for (size_t i = 0; i < bins / 2; ++i) counts_[i] = counts_[2 * i] + counts_[2 * i + 1];
    std::fill(counts_.begin() + bins / 2, counts_.end(), 0.0);
  }

  double range_ = 0.0;
};

class Percentile : public HistogramObserver {
 public:
  explicit Percentile(double percentile) : share_(percentile / 100.0) {}

 protected:
  double chosen() const override {
    const double wanted = share_ * total_;
    double below = 0.0, from = 0.0;  // what the bins before hold, and where the last of them that holds something ends
    for (size_t i = 0; i < bins; ++i) {
      if (counts_[i] == 0.0) continue;
      if (below + counts_[i] >= wanted) return std::lerp(from, edge(i + 1), (wanted - below) / counts_[i]);
      below += counts_[i];
      from = edge(i + 1);
    }
    return largest_;
  }

 private:
  double share_;
};

class Entropy : public HistogramObserver {
 protected:
  double chosen() const override {
    auto counts = counts_;
    counts[0] = counts[1];  // zeros, as after ReLU, have a level in any case and would outweigh the rest
    const double total = total_ - counts_[0] + counts[0];
    double best = largest_, least = std::numeric_limits<double>::infinity(), inside = 0.0;
    for (size_t end = 1; end <= bins; ++end) {
      inside += counts[end - 1];
      // What is clipped is counted in the last bin, which the levels know of only where it has values of its own.
      if (end < levels_of_magnitude || counts[end - 1] == 0.0) continue;
      if (const double found = divergence(counts, total, end, inside); found < least) {
        least = found;
        best = edge(end);
      }
    }
    return best;
  }

 private:
  static constexpr size_t levels_of_magnitude = 128;

  /// Of the bins before `end`, which hold `inside` values, with those beyond in the last; each level stands for several
  /// bins and gives all that are not empty the same share.
  static double divergence(const std::vector<double>& counts, double total, size_t end, double inside) {
    double sum = 0.0;
    for (size_t level = 0; level < levels_of_magnitude; ++level) {
      const size_t from = level * end / levels_of_magnitude, to = (level + 1) * end / levels_of_magnitude;
      double count = 0.0, occupied = 0.0;
      for (size_t i = from; i < to; ++i) {
        count += counts[i];
        occupied += counts[i] > 0.0 ? 1.0 : 0.0;
      }
      for (size_t i = from; i < to; ++i) {
        if (counts[i] == 0.0) continue;
        const double p = (counts[i] + (i + 1 == end ? total - inside : 0.0)) / total;
        sum += p * std::log(p * occupied * inside / count);
      }
    }
    return sum;
  }
};

class Mse : public HistogramObserver {
 protected:
  double chosen() const override {
    double best = largest_, least = std::numeric_limits<double>::infinity();
    const auto last = used();
    for (size_t end = 1; end <= last; ++end) {
      if (const double found = squared_error(end, last); found < least) {
        least = found;
        best = edge(end);
      }
    }
    return best;
  }

 private:
  /// Times the width of a bin.
  double squared_error(size_t end, size_t last) const {
    const double top = edge(end), step = top / levels;
    const auto rounding = [step](double x) {  // integral of the squared error of rounding, from 0 to x
      const double whole = std::nearbyint(x / step), rest = x / step - whole;
      return step * step * step * (whole / 12.0 + rest * rest * rest / 3.0);
    };
    const auto clipping = [top](double x) { return (x - top) * (x - top) * (x - top) / 3.0; };
    double sum = 0.0, before = 0.0;
    for (size_t i = 0; i < last; ++i) {
      if (i == end) before = 0.0;
      const double now = i < end ? rounding(edge(i + 1)) : clipping(edge(i + 1));
      sum += counts_[i] * (now - before);
      before = now;
    }
    return sum;
  }
};

}  // namespace

void Observer::add(const torch::Tensor& x) {
  if (x.numel() == 0) return;
  const auto values = x.detach().to(torch::kCPU, torch::kFloat).contiguous();
  const auto largest = values.abs().max().item<double>();
  if (!std::isfinite(largest)) throw DataError("found NaN or infinity in the activations, expected finite numbers");
  observe(values, largest);
  empty_ = false;
}

float Observer::scale() const {
  if (empty_) throw DataError("there are no activations to calibrate on");
  const double top = limit();
  return top > smallest_limit ? static_cast<float>(top / levels) : 1.0f;
}

std::unique_ptr<Observer> make_observer(const ObserverOptions& options) {
  switch (options.kind) {
    case ObserverKind::min_max:
      return std::make_unique<MinMax>();
    case ObserverKind::moving_average:
      return std::make_unique<MovingAverage>();
    case ObserverKind::percentile:
      return std::make_unique<Percentile>(options.percentile);
    case ObserverKind::entropy:
      return std::make_unique<Entropy>();
    case ObserverKind::mse:
      return std::make_unique<Mse>();
  }
  throw std::logic_error("observer");
}

}  // namespace compression::quantize
