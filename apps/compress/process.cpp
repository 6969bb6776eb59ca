#include "process.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "commands.h"               // ExitCode
#include "compress/base/failure.h"  // current_failure_text

namespace compression::app {
namespace {

std::atomic<bool>* stop_flag = nullptr;  // signal handlers take no arguments

void on_signal(int signal) {
  *stop_flag = true;
  std::signal(signal, SIG_DFL);  // a second one ends the program at once
}

/// Where nothing is written that could be left half done: what the model computes may be somebody else's code, which
/// asks no flag.
void end_at_once(int) {
  constexpr char text[] = "compress: interrupted\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof(text) - 1);
  ::_exit(interrupted);
}

[[noreturn]] void on_uncaught() {
  if (std::current_exception()) {
    try {
      throw;
    } catch (...) {
      std::fprintf(stderr, "compress: %s\n", current_failure_text().c_str());
    }
  }
  std::_Exit(internal_error);
}

/// Called by the loader before the constructors of any library.
void before_everything() {
  std::set_terminate(on_uncaught);
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const first)() = before_everything;

}  // namespace

void open_standard_files() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    const int mode = descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR;
    if (::open("/dev/null", mode) < 0) std::_Exit(internal_error);  // the lowest number that is free
  }
}

void let_large_writes_fail() {
  std::signal(SIGXFSZ, SIG_IGN);
}

void catch_stop_signals(std::atomic<bool>& stop, bool finishes) {
  stop_flag = &stop;
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction before {};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    std::signal(signal, finishes ? on_signal : end_at_once);
  }
}

}  // namespace compression::app
