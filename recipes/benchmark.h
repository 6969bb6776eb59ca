#pragma once
// How long a model takes.

#include "compress/evaluate/cost.h"  // Timing
#include "recipes/runnable.h"        // Runnable

namespace compression::recipes {

/// Times calls on `batch` texts of `length` random tokens without padding, for at least `seconds`. With several
/// `instances` (compress/evaluate/instances.h) each makes such calls: the timing is of a call of the slowest one, runs
/// are of all.
Timing measure_batch(const Runnable& model, int64_t batch, int64_t length, double seconds, int64_t instances = 1);

}  // namespace compression::recipes
