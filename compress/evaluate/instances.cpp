#include "compress/evaluate/instances.h"

#include <ATen/Parallel.h>
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace compression {
namespace {

/// Processors that this thread may run on; none where the system does not say.
std::vector<int> processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {};
  std::vector<int> all;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) all.push_back(i);
  }
  return all;
}

/// Share `index` of `count` of the processors, for this thread and those that it will start. With fewer processors than
/// instances they take turns.
void stay_on(const std::vector<int>& all, int64_t index, int64_t count) {
  if (all.empty()) return;
  const auto size = static_cast<int64_t>(all.size());
  const auto first = index * size / count, last = std::max(first + 1, (index + 1) * size / count);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (auto i = first; i < last; ++i) CPU_SET(all[static_cast<size_t>(i)], &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace

void run_instances(int64_t count, const std::function<void(int64_t)>& work) {
  if (count < 1) throw std::invalid_argument("run_instances: expected at least one instance");
  if (count == 1) return work(0);
  const auto all = processors();
  const auto threads = static_cast<int>(std::max<int64_t>(1, at::get_num_threads() / count));
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::thread> instances;
  for (int64_t i = 0; i < count; ++i) {
    instances.emplace_back([&, i] {
      stay_on(all, i, count);
      at::get_num_threads();  // the first call in a thread sets the program's number; the next line is for this one
                              // alone
      omp_set_num_threads(threads);
      try {
        work(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    });
  }
  for (auto& instance : instances) instance.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace compression
