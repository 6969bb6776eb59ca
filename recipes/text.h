#pragma once
// Small helpers for messages about names.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace compression::recipes {

/// In double quotes, on one line, and cut if long.
std::string in_quotes(std::string_view text);

/// A key as key paths show it: in quotes if it is not a plain name.
std::string shown_key(std::string_view key);

/// "a, b, c".
std::string listed(std::span<const std::string_view> names);

/// The candidate that `name` looks like a misspelling of, by edit distance.
std::optional<std::string_view> look_alike(std::string_view name, std::span<const std::string_view> candidates);

/// " (did you mean x?)", or nothing.
std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

/// True for [A-Za-z0-9_-]+.
bool is_plain_name(std::string_view name);

}  // namespace compression::recipes
