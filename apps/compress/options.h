#pragma once
// Checks of options that CLI11 has not.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "compress/base/json_file.h"  // excerpt
#include "compress/base/number.h"     // number_of

namespace compression::app {

/// As CLI::Range, but nan is refused.
inline CLI::Validator between(double low, double high) {
  return CLI::Validator(
      [=](const std::string& text) {
        const auto value = number_of<double>(text);
        return value && *value >= low && *value <= high
                   ? std::string()
                   : fmt::format("found {}, expected from {} to {}", excerpt(nlohmann::json(text)), low, high);
      },
      "FLOAT");
}

}  // namespace compression::app
