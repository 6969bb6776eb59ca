#pragma once
// The errors that libraries throw. Only main() catches them and maps the kind to an exit code (docs/cli.md).
// A message is one line that names file, line or key, what was found and what was expected. What a file or a value
// brings into it is escaped and shortened here (message.h), whoever throws.

#include <stdexcept>
#include <string>

namespace compression {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);

 protected:
  struct Lines {};
  Error(Lines, const std::string& messages);
};

/// A recipe, option or setting is wrong. May hold several lines, one a problem.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& messages) : Error(Lines{}, messages) {}
};

/// A data file is wrong (names file and line), an input changed during the run, or a training diverges.
class DataError : public Error {
  using Error::Error;
};

/// A checkpoint, tokenizer or artefact is missing, damaged or does not fit.
class CheckpointError : public Error {
  using Error::Error;
};

/// The request is well formed but not something this program does: names what is supported.
class UnsupportedError : public Error {
  using Error::Error;
};

/// The machine refused: disk full, no permission, a read-only folder, no more threads.
class StorageError : public Error {
  using Error::Error;
};

/// The user asked to stop (SIGINT, SIGTERM); nothing is half-written. Says what was saved.
class Interrupted : public Error {
  using Error::Error;
};

}  // namespace compression
