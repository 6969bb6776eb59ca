#pragma once
// Extended grapheme clusters (UAX #29).

#include <string_view>

namespace compression {

/// The first cluster of `text`, which is valid UTF-8 and not empty. Conjuncts of Indic scripts (rule GB9c) may come out
/// in several parts.
std::string_view first_grapheme(std::string_view text);

}  // namespace compression
