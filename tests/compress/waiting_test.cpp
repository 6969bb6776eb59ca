#include "compress/kernels/waiting.h"

#include <omp.h>
#include <time.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace compression::kernels {
namespace {

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Seconds that a thread computes while it waits, several times, for another that sleeps.
double spent_waiting() {
  double spent = 0.0;
  for (int i = 0; i < 10; ++i) {
#pragma omp parallel num_threads(2)
    {
      const bool waits = omp_get_thread_num() == 0;
      if (!waits) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const double before = thread_seconds();
#pragma omp barrier
      if (waits) spent += thread_seconds() - before;
    }
  }
  return spent;
}

TEST_CASE("a thread that waits sleeps nearly at once while a sleeping team is there, and not after it") {
  const bool told = std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr;
  if (told || omp_get_num_procs() < 2) {  // then libgomp has one way to wait
    WARN("SKIPPED: GOMP_SPINCOUNT or OMP_WAIT_POLICY is set, or there is one processor");
    return;
  }
  const double before = spent_waiting();
  double within = 0.0;
  {
    const SleepingTeam team;
    within = spent_waiting();
  }
  const double after = spent_waiting();
  CHECK(within < before / 4);
  CHECK(within < after / 4);
}

TEST_CASE(
    "a machine is busy when threads wait for processors for longer than a moment, and quiet when they have not for a "
    "while") {
  constexpr double period = 0.25;
  BusyJudge judge;
  const auto for_seconds = [&](double share, double seconds) {
    bool busy = false;
    for (double t = 0.0; t < seconds; t += period) busy = judge.judge(period * share, period);
    return busy;
  };
  CHECK_FALSE(for_seconds(0.15, 10));  // some wait is on every machine
  for (int i = 0; i < 10; ++i) {       // and something runs for a moment
    CHECK_FALSE(for_seconds(0.9, period));
    CHECK_FALSE(for_seconds(0.0, period));
  }
  CHECK(for_seconds(0.5, 2 * period));
  CHECK(for_seconds(0.15, 20));
  CHECK(for_seconds(0.01, 1 - period));
  CHECK(for_seconds(0.15, period));  // it counts from here
  CHECK(for_seconds(0.01, 1 - period));
  CHECK_FALSE(for_seconds(0.01, period));
  // It was believed too soon: twice as long the next time, and so on.
  CHECK(for_seconds(0.5, 2 * period));
  CHECK(for_seconds(0.0, 2 - period));
  CHECK_FALSE(for_seconds(0.0, period));
  for (int i = 0; i < 6; ++i) {
    CHECK(for_seconds(0.5, 2 * period));
    for_seconds(0.0, 16);
  }
  CHECK(for_seconds(0.5, 2 * period));
  CHECK(for_seconds(0.0, 16 - period));
  CHECK_FALSE(for_seconds(0.0, period));
  CHECK_FALSE(for_seconds(0.0, 30));  // forgotten
  CHECK(for_seconds(0.5, 2 * period));
  CHECK(for_seconds(0.0, 1 - period));
  CHECK_FALSE(for_seconds(0.0, period));
}

TEST_CASE("watching threads begins and ends at any time") {
  for (int i = 0; i < 3; ++i) {
    const WaitingThreads waiting;
    if (i == 2) std::this_thread::sleep_for(2 * WaitingThreads::period);
  }
}

}  // namespace
}  // namespace compression::kernels
