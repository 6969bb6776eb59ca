#pragma once
// How long a model takes.

#include "compress/evaluate/timing.h"  // Timing
#include "recipes/runnable.h"          // Runnable

namespace compression::recipes {

/// Times calls of a batch of random tokens without padding: [batch, length], for `seconds` and at least 5 calls.
Timing measure_batch(const Runnable& model, int64_t batch, int64_t length, double seconds);

/// Several calls at once (compress/evaluate/instances.h).
struct InstancesTiming {
  Timing call;  // of the slowest instance by its median; `runs` are of all
  double texts_per_second = 0.0;
};

/// The texts a second are those of the calls that ended while all instances were at work; of one instance, those of its
/// median call. Throws as run_instances().
InstancesTiming measure_instances(const Runnable& model, int64_t batch, int64_t length, double seconds,
                                  int64_t instances);

}  // namespace compression::recipes
