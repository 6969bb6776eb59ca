#include "compress/train/spike.h"

#include <algorithm>
#include <limits>

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

double RecentLosses::limit(double factor) const {
  if (factor == 0.0 || recent.empty()) return std::numeric_limits<double>::infinity();
  return factor * std::max({median(recent), first_median / 2, floor});
}

bool RecentLosses::stands_out(double loss, double factor) const {
  const double most = limit(factor);
  return loss > most && (loss > *std::ranges::max_element(recent) || recent.back() > most);
}

}  // namespace compression
