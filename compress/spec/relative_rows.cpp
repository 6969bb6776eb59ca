#include "compress/spec/relative_rows.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace compression {
namespace {

// The operations, and their order, are those of transformers in float32: rounding decides on which side of a border a
// distance falls.

/// Eight buckets for the distances below 8, eight for those up to 128; the same again for keys after the query.
int64_t bias_row(int64_t distance) {
  constexpr int64_t buckets = 16, exact = 8, furthest = 128;
  const int64_t size = std::abs(distance), after = distance < 0 ? buckets : 0;
  if (size < exact) return after + size;
  const auto span = static_cast<float>(std::log(static_cast<double>(furthest) / exact));
  const auto share = std::log(static_cast<float>(size) / static_cast<float>(exact)) / span;
  const auto further = static_cast<int64_t>(share * static_cast<float>(buckets - exact));
  return after + std::min(exact + further, buckets - 1);
}

/// Distances up to the middle have a bucket each; those from there to the range share the rest.
int64_t bucketed(int64_t distance, int64_t buckets, int64_t range) {
  const auto middle = buckets / 2;
  const auto size = std::abs(distance);
  if (size <= middle) return distance;
  const auto span = std::log(static_cast<float>(static_cast<double>(range - 1) / static_cast<double>(middle)));
  const auto share = std::log(static_cast<float>(size) / static_cast<float>(middle)) / span;
  const auto bucket =
      static_cast<int64_t>(std::ceil(share * static_cast<float>(middle - 1)) + static_cast<float>(middle));
  return distance < 0 ? -bucket : bucket;
}

}  // namespace

std::vector<double> alibi_slopes(int64_t heads) {
  int64_t power = 1;
  while (power < heads) power *= 2;
  std::vector<double> all, slopes;
  for (int64_t i = 1; i <= power; ++i)
    all.push_back(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(power)));
  if (power == heads) return all;
  for (const size_t first : {size_t{1}, size_t{0}}) {  // every second, then those between
    for (size_t i = first; i < all.size(); i += 2) slopes.push_back(all[i]);
  }
  slopes.resize(static_cast<size_t>(heads));
  return slopes;
}

std::vector<int64_t> relative_rows(Positions positions, const RelativeSpec& relative, int64_t length) {
  std::vector<int64_t> rows;
  for (auto distance = 1 - length; distance < length; ++distance) {
    if (positions == Positions::bias) {
      rows.push_back(bias_row(distance));
    } else {
      const auto bucket = relative.buckets > 0 ? bucketed(distance, relative.buckets, relative.range) : distance;
      rows.push_back(std::clamp<int64_t>(bucket + relative.rows / 2, 0, relative.rows - 1));
    }
  }
  return rows;
}

}  // namespace compression
