#pragma once
// How long a model takes.

#include "compress/evaluate/cost.h"  // Timing
#include "recipes/runnable.h"        // Runnable

namespace compression::recipes {

/// Times calls on `batch` texts of `length` random tokens without padding, for at least `seconds`.
Timing measure_batch(const Runnable& model, int64_t batch, int64_t length, double seconds);

}  // namespace compression::recipes
