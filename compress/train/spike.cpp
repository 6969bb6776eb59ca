#include "compress/train/spike.h"

#include <algorithm>

namespace compression {

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void RecentLosses::add(double loss) {
  recent.push_back(loss);
  if (recent.size() > length) recent.erase(recent.begin());
  if (first_median == 0.0 && recent.size() == length) first_median = median(recent);
}

bool RecentLosses::jumps(double loss, double factor) const {
  if (factor == 0.0 || recent.size() < enough) return false;
  return loss > factor * std::max({median(recent), first_median / 2, floor});
}

double RecentLosses::recent_median() const {
  return recent.size() < enough ? 0.0 : median(recent);
}

}  // namespace compression
