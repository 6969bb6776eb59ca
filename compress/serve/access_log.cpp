#include "compress/serve/access_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "compress/base/error.h"    // StorageError
#include "compress/base/files.h"    // refused
#include "compress/base/message.h"  // json_text

namespace compression::serve {
namespace {

int open_log(const std::filesystem::path& file) {
  if (file == "-") return STDERR_FILENO;
  errno = 0;
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (descriptor < 0) throw StorageError(refused(file.string(), "can't be opened", errno));
  return descriptor;
}

constexpr size_t most_waiting = 4 << 20;

}  // namespace

std::string access_line(const AccessEntry& entry, std::chrono::system_clock::time_point time) {
  using std::chrono::floor, std::chrono::milliseconds, std::chrono::seconds;
  const auto whole = floor<seconds>(time);
  const auto rest = floor<milliseconds>(time - whole).count();
  const auto micro = [](double value) { return std::round(value * 1e6) / 1e6; };
  nlohmann::ordered_json line{{"time", fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                                                   fmt::gmtime(std::chrono::system_clock::to_time_t(whole)), rest)},
                              {"remote", entry.remote},
                              {"method", entry.method},
                              {"path", entry.path},
                              {"status", entry.status},
                              {"bytes_in", entry.bytes_in},
                              {"bytes_out", entry.bytes_out},
                              {"seconds", micro(entry.seconds)}};
  if (!entry.id.empty()) line["request_id"] = entry.id;
  const auto& account = entry.account;
  if (!account.route.empty()) line["route"] = account.route;
  if (!account.model.empty()) line["model"] = account.model;
  if (account.texts > 0) {
    line["texts"] = account.texts;
    line["tokens"] = account.tokens;
    line["queue_seconds"] = micro(account.queue_seconds);
    line["compute_seconds"] = micro(account.compute_seconds);
  }
  return json_text(line) + '\n';
}

AccessLog::AccessLog(const std::filesystem::path& file, Metrics& metrics)
    : descriptor_(open_log(file)),
      dropped_(metrics.counter("compress_dropped_log_lines", "Lines of the access log that were not written")),
      writer_([this] { work(); }) {}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  writer_.join();
  if (descriptor_ != STDERR_FILENO) ::close(descriptor_);
}

void AccessLog::add(const AccessEntry& entry) {
  const auto line = access_line(entry, std::chrono::system_clock::now());
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() > most_waiting) return dropped_.add();
    waiting_ += line;
  }
  wake_.notify_one();
}

void AccessLog::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const auto text = std::move(waiting_);
    waiting_.clear();
    lock.unlock();
    for (size_t written = 0; written < text.size();) {
      const auto count = ::write(descriptor_, text.data() + written, text.size() - written);
      if (count < 0 && errno != EINTR) {
        dropped_.add(static_cast<double>(std::ranges::count(text.substr(written), '\n')));
        break;
      }
      if (count > 0) written += static_cast<size_t>(count);
    }
    lock.lock();
  }
}

}  // namespace compression::serve
