#include "compress/engine/instances.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "compress/base/error.h"       // StorageError
#include "compress/base/processors.h"  // allowed_processors, require_threads, stay_on

namespace compression {

void run_instances(int64_t count, int64_t threads, const std::function<void(int64_t)>& work,
                   const std::function<void()>& begin) {
  if (count < 1) throw std::invalid_argument("run_instances: expected at least one instance");
  if (count == 1) return work(0);
  const auto all = allowed_processors();
  const auto own = static_cast<int>(std::max<int64_t>(1, threads / count));
  require_threads(count * threads);  // what computes beside us (MKL) may start a team of all of them for each instance
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::jthread> instances;  // joined before an exception leaves
  instances.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const auto instance = [&, i] {
      stay_on(all, i, count);
      if (begin) begin();
      omp_set_num_threads(own);
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
