#include "compress/evaluate/instances.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "compress/base/error.h"        // StorageError
#include "compress/workflow/machine.h"  // allowed_processors, require_threads

namespace compression {
namespace {

/// Share `index` of `count` of the processors, for this thread and those that it will start. With fewer processors than
/// instances they take turns.
void stay_on(const std::vector<int>& all, int64_t index, int64_t count) {
  if (all.empty()) return;
  const auto size = static_cast<int64_t>(all.size());
  const auto first = index * size / count, last = std::max(first + 1, (index + 1) * size / count);
  const auto room = static_cast<size_t>(all.back()) + 1;
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(room), [](cpu_set_t* s) { CPU_FREE(s); });
  if (set == nullptr) return;
  CPU_ZERO_S(CPU_ALLOC_SIZE(room), set.get());
  for (auto i = first; i < last; ++i) {
    CPU_SET_S(static_cast<size_t>(all[static_cast<size_t>(i)]), CPU_ALLOC_SIZE(room), set.get());
  }
  sched_setaffinity(0, CPU_ALLOC_SIZE(room), set.get());
}

}  // namespace

void run_instances(int64_t count, const std::function<void(int64_t)>& work) {
  if (count < 1) throw std::invalid_argument("run_instances: expected at least one instance");
  if (count == 1) return work(0);
  const auto all = allowed_processors();
  const auto threads = static_cast<int>(std::max<int64_t>(1, at::get_num_threads() / count));
  require_threads(count * at::get_num_threads());  // MKL may start a team of all of them for each instance
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::jthread> instances;  // joined before an exception leaves
  instances.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const auto instance = [&, i] {
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
    };
    try {
      instances.emplace_back(instance);
    } catch (const std::system_error& error) {
      throw StorageError(fmt::format("instance {} of {} can't be started: {}", i + 1, count, error.code().message()));
    }
  }
  for (auto& instance : instances) instance.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace compression
