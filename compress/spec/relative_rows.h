#pragma once
// What each distance between two tokens is to attention: a row of the table of relative positions, or a slope.

#include <cstdint>
#include <vector>

#include "compress/spec/config.h"  // Positions, RelativeSpec

namespace compression {

/// The row of each distance query - key of a text of `length` tokens: [2 * length - 1], at length - 1 + distance.
/// Positions::bias: T5's 32 buckets, half of them for each direction (arXiv 1910.10683); disentangled: DeBERTa's, which
/// are linear and then logarithmic (arXiv 2006.03654), or a row for each distance. With disentangled, rows ascend with
/// distance.
std::vector<int64_t> relative_rows(Positions positions, const RelativeSpec& relative, int64_t length);

/// What the scores of each of so many heads fall by with a token's distance, as MPT and ALiBi (arXiv 2108.12409) have
/// it.
std::vector<double> alibi_slopes(int64_t heads);

}  // namespace compression
