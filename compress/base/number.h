#pragma once
// Numbers out of texts, whatever the process's locale is.

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace compression {

/// All of `text` as a number, as C writes it without a plus sign: "7", "-2.5e-3". Nothing if anything else is in it, or
/// the number does not fit.
template <class T>
std::optional<T> number_of(std::string_view text) {
  T value{};
  const auto* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end ? std::optional(value) : std::nullopt;
}

}  // namespace compression
