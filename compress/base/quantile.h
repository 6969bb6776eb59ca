#pragma once
// Quantiles of what was measured or counted.

#include <cmath>
#include <vector>

namespace compression {

/// The value that `share` of the others, from 0 to 1, come before: the nearest one, none in between. `sorted`:
/// ascending, not empty.
template <class T>
const T& quantile(const std::vector<T>& sorted, double share) {
  return sorted[static_cast<size_t>(std::llround(share * static_cast<double>(sorted.size() - 1)))];
}

}  // namespace compression
