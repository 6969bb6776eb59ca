#pragma once
// What tests of kernels share: each instruction set that this processor has.

#include <hwy/targets.h>

#include "tests/support.h"

namespace compression::testing {

inline float* floats(const torch::Tensor& t) {
  return t.data_ptr<float>();
}

/// Makes the kernels of one instruction set be chosen, while it lives.
class OnlyTarget {
 public:
  explicit OnlyTarget(int64_t target) { hwy::SetSupportedTargetsForTest(target); }
  ~OnlyTarget() { hwy::SetSupportedTargetsForTest(0); }
  OnlyTarget(const OnlyTarget&) = delete;
  OnlyTarget& operator=(const OnlyTarget&) = delete;
};

/// The best instruction set (0), and each that this processor has.
inline std::vector<int64_t> targets() {
  std::vector<int64_t> all = {0};
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) all.push_back(left & -left);
  return all;
}

}  // namespace compression::testing
