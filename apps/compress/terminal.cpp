#include "terminal.h"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <torch/csrc/jit/runtime/print_handler.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#include "compress/base/message.h"  // one_line, message_lines

namespace compression::app {
namespace {

constexpr auto clear_line = "\r\033[K";

/// Whether standard error is a terminal that can wipe a line; one of TERM=dumb, as an editor's, can't.
bool draws_bar() {
  static const bool draws = [] {
    const char* terminal = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) && terminal != nullptr && std::string_view(terminal) != "dumb";
  }();
  return draws;
}

using Clock = std::chrono::steady_clock;

std::atomic<Clock::time_point> last_line = Clock::now();

/// Standard error, a line a message, whatever is in it; a bar that is being drawn is wiped first.
class ErrorSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    const auto payload = one_line({message.payload.data(), message.payload.size()});
    auto line = message;
    line.payload = payload;
    formatter_->format(line, text);
    if (draws_bar()) std::fputs(clear_line, stderr);
    std::fwrite(text.data(), 1, text.size(), stderr);
    last_line = Clock::now();
  }
  void flush_() override { std::fflush(stderr); }
};

/// Where no bar is drawn, a log line whenever there was none for a while: what a pipe or a file shows of long work.
class Teller {
 public:
  Teller(std::shared_ptr<spdlog::logger> logger, double seconds)
      : logger_(std::move(logger)),
        every_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {
    try {
      if (seconds > 0) watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
    } catch (const std::system_error&) {
      // No thread can be had: then nothing is told.
    }
  }

  void at(int64_t done, int64_t total, std::string_view text) {
    const std::lock_guard lock(mutex_);
    done_ = done, total_ = done == total ? 0 : total, text_ = text;  // of what has ended nothing is told
  }

 private:
  void watch(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      const auto next = last_line.load() + every_;
      if (Clock::now() < next) {
        woken_.wait_until(lock, stop, next, [] { return false; });
        continue;
      }
      const auto where = total_ > 0 ? fmt::format(": {} of {}, {}", done_, total_, text_) : std::string();
      lock.unlock();
      logger_->info("at work{}", where);
      last_line = Clock::now();  // whatever the level lets through
      lock.lock();
    }
  }

  std::shared_ptr<spdlog::logger> logger_;
  Clock::duration every_;
  std::mutex mutex_;
  std::condition_variable_any woken_;
  int64_t done_ = 0, total_ = 0;
  std::string text_;
  std::jthread watcher_;  // the last: it ends before what it reads
};

}  // namespace

std::shared_ptr<spdlog::logger> make_logger(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("compress", std::make_shared<ErrorSink>());
  logger->set_level(spdlog::level::from_str(level));
  logger->set_pattern("%H:%M:%S %^%l%$ %v");
  return logger;
}

void print_scripts_to_errors() {
  torch::jit::setPrintHandler([](const std::string& text) {
    if (draws_bar()) std::fputs(clear_line, stderr);
    std::fputs(message_lines(text).c_str(), stderr);
  });
}

Progress make_progress(std::shared_ptr<spdlog::logger> logger, double tell_every) {
  if (!draws_bar()) {
    const auto teller = std::make_shared<Teller>(std::move(logger), tell_every);
    return [teller](int64_t done, int64_t total, std::string_view text) { teller->at(done, total, text); };
  }
  return [drawn = Clock::time_point{}](int64_t done, int64_t total, std::string_view text) mutable {
    const auto now = Clock::now();
    if (done == total) {
      std::fputs(clear_line, stderr);
      return;
    }
    if (now - drawn < std::chrono::milliseconds(200)) return;
    drawn = now;
    constexpr int64_t width = 30;
    const auto filled = static_cast<size_t>(total > 0 ? width * done / total : 0);
    const auto bar = std::string(filled, '#') + std::string(width - filled, '.');
    std::fputs(fmt::format("{}[{}] {}/{} {}", clear_line, bar, done, total, text).c_str(), stderr);
    std::fflush(stderr);
  };
}

}  // namespace compression::app
