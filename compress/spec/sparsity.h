#pragma once
// Which weights of a matrix [out, in] are zero together.

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace compression {

enum class SparsityPattern {
  automatic,  // of a recipe: what the kernels of this machine gain from
  unstructured,
  two_of_four,
  four_of_eight,
  block_1x2,
  block_1x4,
  block_1x8,
  block_4x4,
  block_16x1
};
constexpr std::array<std::pair<SparsityPattern, std::string_view>, 9> enum_names(SparsityPattern) {
  return {{{SparsityPattern::automatic, "auto"},
           {SparsityPattern::unstructured, "unstructured"},
           {SparsityPattern::two_of_four, "2:4"},
           {SparsityPattern::four_of_eight, "4:8"},
           {SparsityPattern::block_1x2, "1x2"},
           {SparsityPattern::block_1x4, "1x4"},
           {SparsityPattern::block_1x8, "1x8"},
           {SparsityPattern::block_4x4, "4x4"},
           {SparsityPattern::block_16x1, "16x1"}}};
}

/// Blocks of rows x columns go whole, any of them; or of each `of` inputs of an output, `kept` stay.
struct PatternShape {
  int64_t rows = 1, columns = 1;
  int64_t kept = 0, of = 0;  // 0: any

  /// The share of weights that the pattern itself says; 0: it says none.
  double density() const { return of == 0 ? 0.0 : static_cast<double>(kept) / static_cast<double>(of); }
};

constexpr PatternShape shape_of(SparsityPattern pattern) {
  switch (pattern) {
    case SparsityPattern::automatic:
    case SparsityPattern::unstructured:
      return {};
    case SparsityPattern::two_of_four:
      return {.kept = 2, .of = 4};
    case SparsityPattern::four_of_eight:
      return {.kept = 4, .of = 8};
    case SparsityPattern::block_1x2:
      return {.columns = 2};
    case SparsityPattern::block_1x4:
      return {.columns = 4};
    case SparsityPattern::block_1x8:
      return {.columns = 8};
    case SparsityPattern::block_4x4:
      return {.rows = 4, .columns = 4};
    case SparsityPattern::block_16x1:
      return {.rows = 16};
  }
  return {};
}

}  // namespace compression
