#pragma once
// OpenMP's threads, which are LibTorch's too where it is in the process: how many a call may use, and work that is
// divided among them.

#include <omp.h>

#include <cstdint>
#include <functional>

namespace compression::kernels {

constexpr int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Threads that a call may use: what omp_set_num_threads() or at::set_num_threads() said, and one inside of a parallel
/// region.
inline int64_t available_threads() {
  return omp_in_parallel() != 0 ? 1 : omp_get_max_threads();
}

/// Calls work(first, last) for ranges that make up [0, count), in available_threads() threads at most and with `grain`
/// (above 0) or more in a range, but for the last: the ranges of at::parallel_for. Of exceptions one is thrown again
/// when all threads are done.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work);

/// While it lives, what this thread begins runs in it alone: no team of threads is started.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace compression::kernels
