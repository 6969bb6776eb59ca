#pragma once
// Whether weights in bfloat16 are multiplied with activations in bfloat16 or in float32: whichever is faster here. The
// instructions for bfloat16 are no faster than float32's on some processors, and others have none. Weights take as much
// memory in either case.

#include <cstdint>
#include <optional>

#include "compress/kernels/linear.h"  // Number

namespace compression::kernels {

struct BFloat16Choice {
  Number number = Number::bfloat16;            // or float32, in which activations are not rounded
  double bfloat16_ms = 0.0, float32_ms = 0.0;  // what was measured; 0: by rule
};

/// For weights with `in` inputs. Measured with one thread for some milliseconds, once (kept_choices.h) for inputs of
/// about that number (a power of two), as products of 128 rows and of 16. Any number of threads may call it.
BFloat16Choice bfloat16_choice(int64_t in);

/// bfloat16 where it takes less than 95 % of the time, since float32 is more exact.
Number faster_number(double bfloat16_ms, double float32_ms);

/// Tests: as if that had been measured; absent: it is measured.
void choose_bfloat16_for_test(std::optional<Number> number);

}  // namespace compression::kernels
