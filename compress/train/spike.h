#pragma once
// Tells a loss that jumps from the noise of single batches.

#include <cstdint>
#include <optional>
#include <vector>

namespace compression {

double median(std::vector<double> values);

/// The losses of the last steps.
struct RecentLosses {
  static constexpr size_t length = 32;
  /// Losses below this, times the factor, are never a jump: when nearly every text is right, one that is wrong makes
  /// its batch's loss many times the median.
  static constexpr double floor = 0.2;

  std::vector<double> recent;  // oldest first
  double first_median = 0.0;   // of the first `length`; 0 before

  void add(double loss);

  /// factor * max(median of the recent, half the median of the first, floor); infinite before there is one, and with a
  /// factor of 0.
  double limit(double factor) const;

  /// Whether `loss` is above the limit, and either above all of the recent or right behind one above the limit: what is
  /// worth a look at other texts' losses. Of losses that only scatter, however widely, few are.
  bool stands_out(double loss, double factor) const;
};

/// Whether half of the batches are above a limit or few are, by one after the other until it is clear: Wald's
/// sequential probability ratio test between one in two and one in ten. Of few that are above, five are enough; where
/// one in five is above by nature, the wrong verdict comes once in 300 times.
class SequentialTest {
 public:
  void add(bool above) {
    ratio_ += above ? 8 : -3;  // logarithms of 5 and 5/9, in units of 0.2
    (above ? above_ : below_) += 1;
  }
  bool decided() const { return ratio_ <= -15 || ratio_ >= 80; }

  /// Where it is not decided, by the majority.
  bool above() const { return decided() ? ratio_ > 0 : above_ > below_; }

 private:
  int64_t ratio_ = 0, above_ = 0, below_ = 0;
};

}  // namespace compression
