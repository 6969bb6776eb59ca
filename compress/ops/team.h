#pragma once
// Threads that work on one thing together and wait for each other often.

#include <ATen/Parallel.h>
#include <omp.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>

namespace compression::ops {

/// Where threads wait for each other: spinning, and after a while leaving the processor to others.
class Barrier {
 public:
  /// For `size` threads, each of which calls it.
  void wait(int64_t size) {
    if (size == 1) return;
    const auto round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins >= 4000) std::this_thread::yield();
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }

 private:
  alignas(64) std::atomic<int64_t> waiting_{0};
  alignas(64) std::atomic<uint64_t> round_{0};
};

/// One of the threads.
struct Member {
  int64_t index = 0, size = 1;
  Barrier* barrier = nullptr;

  void wait() const {
    if (size > 1) barrier->wait(size);
  }

  /// This member's share of `count`: [first, last).
  std::pair<int64_t, int64_t> share(int64_t count) const { return {index * count / size, (index + 1) * count / size}; }
};

/// Calls work(member) in at most `threads` threads of LibTorch's OpenMP at once. `work` does not throw.
template <class Work>
void run_together(int64_t threads, Work&& work) {
  if (threads == 1) return work(Member{});
  Barrier barrier;
#pragma omp parallel num_threads(static_cast <int>(threads))
  work(Member{omp_get_thread_num(), omp_get_num_threads(), &barrier});
}

/// Threads that a call may use: LibTorch's setting, and one inside of a parallel region.
inline int64_t available_threads() {
  return at::in_parallel_region() ? 1 : at::get_num_threads();
}

}  // namespace compression::ops
