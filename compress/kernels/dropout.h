#pragma once
// Dropout whose mask is computed, never stored: a function of a seed and an element's place, so that the backward pass
// and recomputed activations see the mask of the forward pass.

#include <cmath>
#include <cstdint>

namespace compression::kernels {

struct Dropout {
  float probability = 0.0f;
  uint64_t seed = 0;

  bool enabled() const { return probability > 0.0f; }
  float scale() const { return 1.0f / (1.0f - probability); }
  int32_t threshold() const { return static_cast<int32_t>(std::lround(probability * 16777216.0f)); }

  /// The key of one part of the elements: a row, or a head of a sequence (SplitMix64's finaliser).
  uint32_t key(uint64_t part) const {
    uint64_t x = seed + (part + 1) * 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return static_cast<uint32_t>(x >> 32);
  }
};

}  // namespace compression::kernels
