#pragma once
// What a person sees: log lines on standard error, and a progress bar there if it is a terminal.

#include <memory>
#include <string>

#include "compress/workflow/context.h"  // Progress

namespace spdlog {
class logger;
}

namespace compression::app {

/// level: trace, debug, info, warning, error or off.
std::shared_ptr<spdlog::logger> make_logger(const std::string& level);

/// What a TorchScript file prints is none of this program's answers: it goes to standard error, from every thread.
void print_scripts_to_errors();

/// A bar that is redrawn a few times a second on a terminal; elsewhere the log gets a line that tells how far it is
/// whenever it got none for `tell_every` seconds (0: never).
Progress make_progress(std::shared_ptr<spdlog::logger> logger, double tell_every);

}  // namespace compression::app
