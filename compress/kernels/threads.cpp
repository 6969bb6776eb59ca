#include "compress/kernels/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>

namespace compression::kernels {

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
  if (count <= 0) return;
  if (count == 1 || count <= grain || available_threads() == 1) return work(0, count);
  std::atomic_flag failed;
  std::exception_ptr failure;
#pragma omp parallel
  {
    const auto threads = std::min<int64_t>(omp_get_num_threads(), divide_up(count, grain));
    const auto share = divide_up(count, threads), first = omp_get_thread_num() * share;
    try {
      if (first < count) work(first, std::min(first + share, count));
    } catch (...) {
      if (!failed.test_and_set()) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace compression::kernels
