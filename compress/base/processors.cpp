#include "compress/base/processors.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <latch>
#include <memory>
#include <string>
#include <system_error>
#include <thread>

#include "compress/base/error.h"  // StorageError

namespace compression {

std::vector<int> allowed_processors() {
  for (int size = CPU_SETSIZE; size <= 1 << 20; size *= 2) {  // the kernel refuses a set that is too small for it
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(static_cast<size_t>(size)),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    const auto bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
    if (set == nullptr || sched_getaffinity(0, bytes, set.get()) != 0) continue;
    std::vector<int> all;
    for (int i = 0; i < size; ++i) {
      if (CPU_ISSET_S(static_cast<size_t>(i), bytes, set.get())) all.push_back(i);
    }
    return all;
  }
  return {};
}

std::string processor_info(std::string_view key) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos && line.find_first_of("\t:") == key.size()) {
      return line.substr(colon + 2);
    }
  }
  return {};
}

std::string processor_name() {
  const auto name = processor_info("model name");
  if (!name.empty()) {
    return fmt::format("{}, family {}, model {}", name, processor_info("cpu family"), processor_info("model"));
  }
  const auto part = processor_info("CPU part");
  return part.empty() ? part : fmt::format("CPU implementer {}, part {}", processor_info("CPU implementer"), part);
}

void stay_on(const std::vector<int>& processors, int64_t index, int64_t count) {
  if (processors.empty()) return;
  const auto size = static_cast<int64_t>(processors.size());
  const auto first = index * size / count, last = std::max(first + 1, (index + 1) * size / count);
  const auto room = static_cast<size_t>(processors.back()) + 1;
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(room), [](cpu_set_t* s) { CPU_FREE(s); });
  if (set == nullptr) return;
  CPU_ZERO_S(CPU_ALLOC_SIZE(room), set.get());
  for (auto i = first; i < last; ++i) {
    CPU_SET_S(static_cast<size_t>(processors[static_cast<size_t>(i)]), CPU_ALLOC_SIZE(room), set.get());
  }
  sched_setaffinity(0, CPU_ALLOC_SIZE(room), set.get());
}

void require_threads(int64_t count) {
  if (count < 1) return;
  std::latch enough(1);
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  std::string reason;
  try {
    while (static_cast<int64_t>(threads.size()) < count) threads.emplace_back([&] { enough.wait(); });
  } catch (const std::system_error& error) {
    reason = error.code().message();
  }
  enough.count_down();
  for (auto& thread : threads) thread.join();
  if (reason.empty()) return;
  throw StorageError(fmt::format(
      "{} threads: the system lets this process start {} and no more: {}; ask for fewer threads, or raise its limit of "
      "processes or of memory",
      count + 1, threads.size() + 1, reason));
}

}  // namespace compression
