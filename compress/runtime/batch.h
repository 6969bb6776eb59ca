#pragma once
// Padded texts without their padding, and how threads divide them.

#include <cstdint>
#include <vector>

#include "compress/runtime/encoder.h"  // PaddedTokens
#include "compress/runtime/weights.h"  // Weights

namespace compression::runtime {

/// A padded batch without its padding.
struct Batch {
  /// What attention takes of a text for keys: all its tokens; all but the first, which is there to be computed alone;
  /// or, where the mask is 0 throughout, all columns with equal probability, as a softmax of equal scores has it.
  enum class Keys : uint8_t { all, but_first, equal };

  std::vector<int64_t> ids, positions, types;  // [tokens]
  std::vector<int64_t> places, columns;        // [tokens]: its row of what is computed, and where in its text it stands
  std::vector<bool> present;                   // [tokens]: what the mask says
  std::vector<int64_t> begin = {0};            // [texts + 1]
  std::vector<Keys> keys;                      // [texts]

  int64_t tokens() const { return begin.back(); }
  int64_t texts() const { return static_cast<int64_t>(begin.size()) - 1; }
  int64_t tokens_before(int64_t text) const { return begin[static_cast<size_t>(text)]; }
  int64_t column(int64_t token) const { return columns[static_cast<size_t>(token)]; }
};

/// Positions count from 0; or, with the id of padding in `padding_position`, as RoBERTa counts them: from one more than
/// that id, over the tokens that are not padding.
Batch without_padding(const PaddedTokens& tokens, int64_t padding_position);

/// The same of texts that have none; a token's place is its number.
Batch as_batch(const Texts& texts, int64_t padding_position);

/// Throws as Encoder::forward() does, which the batch is for. first_tokens: what is computed is of texts' first tokens.
void check(const Batch& batch, const Weights& weights, bool first_tokens);

/// Texts that go through the layers together: [first, last).
struct Group {
  int64_t first, last;
};

/// Each group is one thread's; or, together, all threads work on one after the other.
struct Division {
  std::vector<Group> groups;
  bool together = false;
};
Division divided(const Batch& batch, int64_t threads);

}  // namespace compression::runtime
