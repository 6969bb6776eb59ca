#include "compress/ops/waiting.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <latch>
#include <system_error>
#include <vector>

namespace compression::ops {
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
  std::vector<std::thread> threads;
  std::latch all(1);
  try {
    for (int i = 0; i < count; ++i) threads.emplace_back([&] { all.wait(); });
  } catch (const std::system_error&) {
  }
  all.count_down();
  for (auto& thread : threads) thread.join();
  return static_cast<int>(threads.size()) == count;
}

}  // namespace

bool BusyJudge::judge(double delay, double seconds) {
  const double share = delay / seconds;
  if (!busy_) {
    since_ += seconds;
    if (share <= busy_share) return false;
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
  first_ = std::thread([this, processors] {
    std::atomic<int> members = 0;  // an empty region would be left out
#pragma omp parallel num_threads(processors + 1)
    ++members;
    std::unique_lock lock(mutex_);
    is_there_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return ends_; });
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_there_; });
}

SleepingTeam::~SleepingTeam() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    changed_.notify_all();
  }
  if (first_.joinable()) first_.join();  // libgomp forgets its team with it
}

WaitingThreads::WaitingThreads() {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  if (!delay_of_threads()) return;
  try {
    watcher_ = std::thread([this] { watch(); });
  } catch (const std::system_error&) {  // then threads wait as libgomp has it
  }
}

WaitingThreads::~WaitingThreads() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    changed_.notify_all();
  }
  if (watcher_.joinable()) watcher_.join();
}

void WaitingThreads::watch() {
  using Clock = std::chrono::steady_clock;
  BusyJudge judge;
  std::optional<SleepingTeam> sleepers;
  auto before = delay_of_threads().value_or(0.0);
  auto then = Clock::now();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, period, [&] { return ends_; })) {
    const auto delay = delay_of_threads().value_or(before);
    const auto now = Clock::now();
    const bool busy = judge.judge(std::max(delay - before, 0.0), std::chrono::duration<double>(now - then).count());
    if (busy && !sleepers) sleepers.emplace();
    if (!busy) sleepers.reset();
    before = sleepers ? delay_of_threads().value_or(delay) : delay;
    then = Clock::now();
  }
}

}  // namespace compression::ops
