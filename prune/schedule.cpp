#include "prune/schedule.h"

#include <algorithm>
#include <cmath>

namespace compression::prune {

double cubic_share(double position) {
  const auto left = 1.0 - position;
  return 1.0 - left * left * left;
}

std::optional<double> GradualSchedule::next() const {
  // Positions are sums of fractions of 1 / rounds: within this of the end is the end.
  constexpr double rounding = 1e-9;
  if (position_ >= 1.0 || halvings_ > max_halvings_) return std::nullopt;
  const auto next = position_ + std::ldexp(1.0 / static_cast<double>(rounds_), static_cast<int>(-halvings_));
  return next > 1.0 - rounding ? 1.0 : next;
}

}  // namespace compression::prune
