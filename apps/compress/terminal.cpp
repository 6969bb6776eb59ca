#include "terminal.h"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "compress/workflow/message.h"  // one_line

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
  }
  void flush_() override { std::fflush(stderr); }
};

}  // namespace

std::shared_ptr<spdlog::logger> make_logger(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("compress", std::make_shared<ErrorSink>());
  logger->set_level(spdlog::level::from_str(level));
  logger->set_pattern("%H:%M:%S %^%l%$ %v");
  return logger;
}

Progress make_progress() {
  if (!draws_bar()) return [](int64_t, int64_t, std::string_view) {};
  using Clock = std::chrono::steady_clock;
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
