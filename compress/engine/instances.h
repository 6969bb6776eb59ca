#pragma once
// Several instances of a model at work in one process, each with processors of its own: throughput where one call has
// not enough work for all of them. FastFormers, arXiv 2010.13382.

#include <cstdint>
#include <functional>

namespace compression {

/// Calls work(0) to work(count - 1) at once, each in a thread of its own. `threads` (OpenMP's, of calls to an Engine
/// among them) and the processors that the caller may run on are dealt out evenly; each instance has at least one
/// thread. One instance is the caller's own thread, left as it is. `begin`, if there is one, is called in each thread
/// before its number of threads is set. Returns when all have; then rethrows the first exception, if any. `count`: at
/// least 1, or std::invalid_argument; StorageError if the system does not let so many threads start. An Engine may be
/// called by all of them.
void run_instances(int64_t count, int64_t threads, const std::function<void(int64_t instance)>& work,
                   const std::function<void()>& begin = {});

}  // namespace compression
