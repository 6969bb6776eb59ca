#pragma once
// Dynamic loss scaling for fp16 (Micikevicius et al., arXiv 1710.03740), with the constants of torch.amp.GradScaler.

#include <cstdint>

namespace compression {

/// The loss is multiplied by `scale` before the backward pass, so that small gradients stay above fp16's smallest
/// number.
struct LossScale {
  static constexpr double smallest = 1.0 / 1024;  // a scale below it helps nobody: something else is wrong
  static constexpr int64_t growth_interval = 2000;

  double scale = 65536.0;
  int64_t good_steps = 0;  // since the scale was changed

  /// After a step's gradient: halves the scale if it overflowed, doubles it after growth_interval that did not.
  void update(bool overflowed) {
    if (overflowed) {
      scale /= 2;
      good_steps = 0;
    } else if (++good_steps == growth_interval) {
      scale *= 2;
      good_steps = 0;
    }
  }
};

}  // namespace compression
