#pragma once
// A line of JSON for each request, written by a thread of its own: who waits for answers never waits for the log.

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

#include "compress/serve/metrics.h"
#include "compress/serve/service.h"  // Account

namespace compression::serve {

struct AccessEntry {
  std::string remote, method, path, id;
  int status = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
  double seconds = 0.0;
  Account account = {};
};

/// {"time": "2026-03-01T12:00:00.123Z", "remote": "127.0.0.1:40312", "method": "POST", "path": "/embed", "status": 200,
/// "bytes_in": 40, "bytes_out": 8123, "seconds": 0.0021, "route": "/embed", "model": "minilm", "texts": 1, "tokens": 9,
/// "queue_seconds": 0.0, "compute_seconds": 0.0018}; of what does not apply there is nothing.
std::string access_line(const AccessEntry& entry, std::chrono::system_clock::time_point time);

class AccessLog {
 public:
  /// file: appended to; "-" is standard error. Throws StorageError where it can't be opened.
  AccessLog(const std::filesystem::path& file, Metrics& metrics);

  /// Writes what is left.
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// A line that finds more than 4 MiB unwritten before it is dropped and counted. Any thread may call it.
  void add(const AccessEntry& entry);

 private:
  void work();

  const int descriptor_;
  Number& dropped_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string waiting_;
  bool stopping_ = false;
  std::jthread writer_;  // last: what it uses is there before and after
};

}  // namespace compression::serve
