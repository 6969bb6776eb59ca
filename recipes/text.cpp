#include "recipes/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compress/base/message.h"  // printable, json_text

namespace compression::recipes {
namespace {

constexpr size_t kLongest = 80;  // bytes of a value that a message shows, and of names that are compared

/// Letters added, left out, replaced or swapped with their neighbour (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = i + j;
        continue;
      }
      const size_t replaced = distance[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
      distance[i][j] = std::min({replaced, distance[i - 1][j] + 1, distance[i][j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
    }
  }
  return distance[a.size()][b.size()];
}

}  // namespace

std::string in_quotes(std::string_view text) {
  std::string shown(text.substr(0, kLongest));
  if (shown.size() < text.size()) {
    while (!shown.empty() && (shown.back() & 0xC0) == 0x80) shown.pop_back();  // not in the middle of a character
    if (!shown.empty() && (shown.back() & 0x80)) shown.pop_back();
    shown += "...";
  }
  return printable(json_text(nlohmann::json(shown)));
}

std::string shown_key(std::string_view key) {
  return is_plain_name(key) ? std::string(key) : in_quotes(key);
}

std::string listed(std::span<const std::string_view> names) {
  std::string result;
  for (std::string_view name : names) result += (result.empty() ? "" : ", ") + shown_key(name);
  return result;
}

std::optional<std::string_view> look_alike(std::string_view name, std::span<const std::string_view> candidates) {
  std::optional<std::string_view> best;
  size_t smallest = 0;
  for (std::string_view candidate : candidates) {
    const size_t shorter = std::min(name.size(), candidate.size());
    const size_t longer = std::max(name.size(), candidate.size());
    const size_t bound = std::max<size_t>(shorter / 3, 1);
    if (shorter < 2 || longer > kLongest || longer > shorter + bound) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance > bound || (best && distance >= smallest)) continue;
    best = candidate;
    smallest = distance;
  }
  return best;
}

std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates) {
  const auto candidate = look_alike(name, candidates);
  return candidate ? " (did you mean " + shown_key(*candidate) + "?)" : "";
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

}  // namespace compression::recipes
