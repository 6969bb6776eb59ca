#include "compress/evaluate/timing.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "compress/base/quantile.h"  // quantile

namespace compression {

Timing measure(const std::function<void()>& work, double seconds, int64_t least) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto warm_up = Clock::now();
  for (int i = 0; i < 3 && (i == 0 || since(warm_up) < seconds); ++i) work();
  std::vector<double> times;
  for (const auto start = Clock::now(); since(start) < seconds || static_cast<int64_t>(times.size()) < least;) {
    const auto before = Clock::now();
    work();
    times.push_back(since(before) * 1e3);
  }
  std::sort(times.begin(), times.end());
  return {quantile(times, 0.5), quantile(times, 0.1), quantile(times, 0.9), static_cast<int64_t>(times.size())};
}

}  // namespace compression
