#include "compress/kernels/waiting.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>

#include "compress/base/error.h"       // StorageError
#include "compress/base/processors.h"  // require_threads

namespace compression::kernels {
namespace {

/// Seconds that all threads of the process waited for a processor, ever; nothing where the system does not tell.
/// Threads that have ended are not in it.
std::optional<double> delay_of_threads() {
  std::error_code error;
  std::optional<double> sum;
  for (std::filesystem::directory_iterator task("/proc/self/task", error), end; !error && task != end;
       task.increment(error)) {
    std::ifstream file(task->path() / "schedstat");
    uint64_t running = 0, waiting = 0;  // nanoseconds
    if (file >> running >> waiting) sum = sum.value_or(0.0) + static_cast<double>(waiting) * 1e-9;
  }
  return sum;
}

/// libgomp ends the program where it can't have a thread.
bool may_have_threads(int count) {
  try {
    require_threads(count);
    return true;
  } catch (const StorageError&) {
    return false;
  }
}

/// Until the thread is to stop, or the time is over: whether it is to stop.
bool sleep_until_stop(const std::stop_token& stop, std::optional<std::chrono::milliseconds> most = {}) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  const auto no = [] { return false; };
  most ? never.wait_for(lock, stop, *most, no) : never.wait(lock, stop, no);
  return stop.stop_requested();
}

void watch(const std::stop_token& stop) {
  using Clock = std::chrono::steady_clock;
  BusyJudge judge;
  std::optional<SleepingTeam> sleepers;
  auto before = delay_of_threads().value_or(0.0);
  auto then = Clock::now();
  while (!sleep_until_stop(stop, WaitingThreads::period)) {
    const auto delay = delay_of_threads().value_or(before);
    const auto now = Clock::now();
    const bool busy = judge.judge(std::max(delay - before, 0.0), std::chrono::duration<double>(now - then).count());
    if (busy && !sleepers) sleepers.emplace();
    if (!busy) sleepers.reset();
    before = sleepers ? delay_of_threads().value_or(delay) : delay;
    then = Clock::now();
  }
}

}  // namespace

bool BusyJudge::judge(double delay, double seconds) {
  const double share = delay / seconds;
  if (!busy_) {
    since_ += seconds;
    waited_ = share > busy_share ? waited_ + seconds : 0.0;
    if (waited_ < in_a_row) return false;
    waited_ = 0.0;
    needed_ = since_ < longest ? std::min(2 * needed_, longest) : shortest;
    busy_ = true;
    quiet_ = 0.0;
    return true;
  }
  quiet_ = share < quiet_share ? quiet_ + seconds : 0.0;
  if (quiet_ >= needed_) {
    busy_ = false;
    since_ = 0.0;
  }
  return busy_;
}

SleepingTeam::SleepingTeam() {
  const int processors = omp_get_num_procs();
  if (!may_have_threads(processors + 1)) return;
  first_ = std::jthread([this, processors](const std::stop_token& stop) {
    std::atomic<int> members = 0;  // an empty region would be left out
#pragma omp parallel num_threads(processors + 1)
    ++members;
    is_there_.count_down();
    sleep_until_stop(stop);
  });
  is_there_.wait();
}

WaitingThreads::WaitingThreads() {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  if (!delay_of_threads()) return;
  try {
    watcher_ = std::jthread(watch);
  } catch (const std::system_error&) {  // then threads wait as libgomp has it
  }
}

}  // namespace compression::kernels
