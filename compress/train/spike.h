#pragma once
// Tells a loss that jumps from the noise of single batches.

#include <cstdint>
#include <optional>
#include <vector>

namespace compression {

double median(std::vector<double> values);

/// The losses of the last steps.
struct RecentLosses {
  static constexpr size_t length = 32, enough = 10;
  /// Losses below this, times the factor, are never a jump: when nearly every text is right, one that is wrong makes
  /// its batch's loss many times the median.
  static constexpr double floor = 0.2;

  std::vector<double> recent;  // oldest first
  double first_median = 0.0;   // of the first `length`; 0 before

  void add(double loss);

  /// Whether `loss` is above factor * max(median of the recent, half the median of the first, floor). Never before
  /// there are `enough`, nor with a factor of 0.
  bool jumps(double loss, double factor) const;

  /// 0 before there are `enough`.
  double recent_median() const;
};

}  // namespace compression
