#pragma once
// Several instances of a model at work in one process, each with processors of its own: throughput where one call has
// not enough work for all of them. FastFormers, arXiv 2010.13382.

#include <cstdint>
#include <functional>

namespace compression {

/// Calls work(0) to work(count - 1) at once, each in a thread of its own. LibTorch's threads (at::get_num_threads() of
/// the caller) and the processors that the caller may run on are dealt out evenly; each instance has at least one
/// thread. One instance is the caller's own thread, left as it is. Returns when all have; then rethrows the first
/// exception, if any. `count`: at least 1, or std::invalid_argument; StorageError if the system does not let so many
/// threads start. A model may be called by all of them: forward() of our models and TorchScript modules in evaluation
/// mode changes nothing.
void run_instances(int64_t count, const std::function<void(int64_t instance)>& work);

}  // namespace compression
