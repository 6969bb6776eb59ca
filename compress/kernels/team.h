#pragma once
// Threads that work on one thing together and wait for each other often.

#include <omp.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "compress/kernels/float_mode.h"  // OrdinaryFloats

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace compression::kernels {

/// Where threads wait for each other: spinning for about as long as waking takes, then asleep. A thread that has slept
/// is let in at once when its turn comes, on a processor that others keep busy; one that spins or yields has used up
/// its share by then.
class Barrier {
 public:
  /// What wait() throws where one of the threads will not come.
  struct Broken : std::exception {};

  /// For `size` threads, each of which calls it.
  void wait(int64_t size) {
    if (size == 1) return;
    check();
    const auto round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1);  // in one order with the sleepers' count: whoever is not seen there sees the new round
      if (sleeping_.load() > 0) wake();
      return;
    }
    for (int spins = 0; spins < spins_awake; ++spins) {
      if (round_.load(std::memory_order_acquire) != round) return check();
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    sleeping_.fetch_add(1);
    while (round_.load() == round && !broken_.load()) sleep(round);
    sleeping_.fetch_sub(1);
    check();
  }

  /// To be called by a thread that will not come: the others need not wait for it.
  void give_up() {
    broken_.store(true);
    round_.fetch_add(1);  // nobody falls asleep for the old one
    wake();
  }

 private:
  static constexpr int spins_awake = 4000;

  void check() const {
    if (broken_.load(std::memory_order_relaxed)) throw Broken();
  }

#if defined(__linux__)
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
  /// Until woken, unless the round is another already; may return without cause.
  void sleep(uint32_t round) { syscall(SYS_futex, &round_, FUTEX_WAIT_PRIVATE, round, nullptr, nullptr, 0); }
  void wake() { syscall(SYS_futex, &round_, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0); }
#else
  void sleep(uint32_t) { std::this_thread::yield(); }
  void wake() {}
#endif

  alignas(64) std::atomic<int64_t> waiting_{0};
  alignas(64) std::atomic<uint32_t> round_{0};
  std::atomic<int32_t> sleeping_{0};
  std::atomic<bool> broken_{false};  // beside round_: who waits reads both
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

/// Calls work(member) in at most `threads` threads of OpenMP's at once, with ordinary floats. An exception
/// must not leave a parallel region: the first that a member throws is thrown again here, when the others have stopped,
/// at the next wait() at the latest.
template <class Work>
void run_together(int64_t threads, Work&& work) {
  if (threads == 1) {
    const OrdinaryFloats ordinary;
    return work(Member{});
  }
  Barrier barrier;
  std::mutex mutex;
  std::exception_ptr failure;
#pragma omp parallel num_threads(static_cast<int>(threads))
  {
    const OrdinaryFloats ordinary;
    try {
      work(Member{omp_get_thread_num(), omp_get_num_threads(), &barrier});
    } catch (const Barrier::Broken&) {
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failure) failure = std::current_exception();
      barrier.give_up();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace compression::kernels
