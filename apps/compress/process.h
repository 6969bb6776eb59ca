#pragma once
// What the process is in: standard files, signals, and errors that nobody catches: an exception that is thrown where
// none can be caught, in a thread of OpenMP's or before main, while LibTorch is loaded, ends the program with one line
// and the exit code of an internal error.

#include <atomic>

namespace compression::app {

/// Opens /dev/null in the place of standard input, output or error where the process was started without one: the next
/// file that is opened would be it, and get the log. Writing to such an output still fails, so that results are not
/// lost without a word.
void open_standard_files();

/// A write beyond the limit of a file's size fails, instead of ending the process (SIGXFSZ).
void let_large_writes_fail();

/// From here on SIGINT and SIGTERM set `stop`, and a second one ends the program; or, where the command finishes
/// nothing first, the first one ends it. One that the parent has the program ignore (nohup, a shell's background job)
/// stays ignored. `stop` must live as long as the program.
void catch_stop_signals(std::atomic<bool>& stop, bool finishes);

}  // namespace compression::app
