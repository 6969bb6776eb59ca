#pragma once
// How OpenMP's threads wait for each other where other programs want the processors too.

#include <chrono>
#include <latch>
#include <thread>

namespace compression::kernels {

/// Tells a busy machine from a quiet one by how long threads that could run did not: for 0.4 seconds in a row, since
/// something runs for a moment on every machine. Slow to believe that it is quiet again: where it was not, the next
/// time it takes twice as long, up to 16 seconds.
class BusyJudge {
 public:
  /// `delay`: seconds that all threads of the process together waited for a processor in the last `seconds`. Whether
  /// the machine is busy.
  bool judge(double delay, double seconds);

 private:
  static constexpr double busy_share = 0.2, quiet_share = 0.1, in_a_row = 0.4, shortest = 1.0, longest = 16.0;

  bool busy_ = false;
  double waited_ = 0.0, quiet_ = 0.0, since_ = longest, needed_ = shortest;  // seconds
};

/// A team of OpenMP threads that sleeps while it lives. libgomp counts its threads, finds more than there are
/// processors, and lets every thread of the program that waits sleep nearly at once (GOMP_SPINCOUNT in libgomp's
/// manual).
class SleepingTeam {
 public:
  SleepingTeam();

 private:
  std::latch is_there_{1};
  std::jthread first_;  // libgomp forgets its team with it
};

/// While it lives, waiting threads spin for milliseconds on a quiet machine, as libgomp has it, and sleep nearly at
/// once on a busy one, where they would spin while they wait for one that is not running (bench/busy.py). The system is
/// asked five times a second how long this process's threads waited for processors. Does nothing where GOMP_SPINCOUNT
/// or OMP_WAIT_POLICY is set, nor where the system does not tell (/proc/self/task/N/schedstat of Linux). One in a
/// process; to be made before or after the first parallel region, destroyed before fork().
class WaitingThreads {
 public:
  WaitingThreads();

  static constexpr std::chrono::milliseconds period{200};

 private:
  std::jthread watcher_;
};

}  // namespace compression::kernels
