#pragma once
// How long work takes, measured.

#include <cstdint>
#include <functional>

namespace compression {

struct Timing {
  double median_ms = 0.0;
  double low_ms = 0.0, high_ms = 0.0;  // 10th and 90th percentile
  int64_t runs = 0;
};

/// Calls `work` a few times to warm up, then until `seconds` are over and at least `least` times.
Timing measure(const std::function<void()>& work, double seconds, int64_t least = 5);

}  // namespace compression
