#pragma once
// What the programs here that train or prune share.

#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "compress/workflow/context.h"  // Context
#include "compress/workflow/machine.h"  // keep_freed_memory
#include "recipes/recipe.h"             // DataConfig

namespace compression::bench {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The number that `text` is. Throws UsageError if it is none, or less than `least`.
template <class Number>
Number number(const std::string& option, const std::string& text, Number least) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least)) {
    throw UsageError(fmt::format("{}: found \"{}\", expected a number of at least {}", option, text, least));
  }
  return value;
}

/// Without a log.
inline Context quiet_context(int64_t seed) {
  Context context;
  context.logger = std::make_shared<spdlog::logger>("bench", std::make_shared<spdlog::sinks::null_sink_mt>());
  context.seed = static_cast<uint64_t>(seed);
  return context;
}

/// train.jsonl, validation.jsonl and test.jsonl of a folder.
inline recipes::DataConfig texts_of(const std::filesystem::path& folder, int64_t max_length) {
  recipes::DataConfig files;
  files.max_length = max_length;
  files.train.path = folder / "train.jsonl";
  files.validation.path = folder / "validation.jsonl";
  files.test = datasets::FileConfig{.path = folder / "test.jsonl"};
  return files;
}

/// main() of run(parse(arguments)): 2 after a UsageError, which is told with the usage, 1 after another error.
template <class Parse, class Run>
int run_program(int argc, char** argv, std::string_view usage, Parse&& parse, Run&& run) {
  keep_freed_memory();
  try {
    return run(parse(std::vector<std::string>(argv + 1, argv + argc)));
  } catch (const UsageError& error) {
    std::cerr << error.what() << '\n' << usage;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}

}  // namespace compression::bench
