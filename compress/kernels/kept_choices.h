#pragma once
// Choices between kernels that were measured on this processor, kept in a file from one process to the next: a program
// starts sooner, and says the same of a text each time where a choice rounds otherwise.

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace compression::kernels {

/// From now on choices are looked up in this file, {PROCESSOR: {KEY: choice}}, and what is measured is written to it.
/// An empty path: nowhere, as it is until this is called. A file that can't be read or written is as good as none. Any
/// thread may call it; a program that wants it does so before it opens a model.
void keep_choices(std::filesystem::path file);

/// compress/kernels.json in $XDG_CACHE_HOME or ~/.cache; empty where the environment says neither.
std::filesystem::path usual_choices_file();

/// What is kept of this processor and this release of the program. Any thread may call both.
std::optional<nlohmann::json> kept_choice(const std::string& key);
void keep_choice(const std::string& key, const nlohmann::json& choice);

}  // namespace compression::kernels
