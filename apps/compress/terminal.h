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

/// A bar that is redrawn a few times a second on a terminal; nothing elsewhere, where log lines tell how far it is.
Progress make_progress();

}  // namespace compression::app
