#pragma once
// From how many rows of activations on the zeros of an int8 weight are left out: where that is faster on this machine.

#include <cstdint>
#include <optional>

namespace compression::kernels {

/// What was measured for products with a weight of which a share of words is not zero.
struct SparseChoice {
  int64_t fewest_rows = 0;  // the sparse form is faster for so many rows and more; 0: never
  double speedup = 1.0;     // of 48 rows: the time of the dense form by that of the one that is taken
};

/// Of a weight [out, in]. Measured with one thread for some milliseconds, once (kept_choices.h) for sizes of about
/// those (powers of two; of outputs at most 512) and a density of about that (a sixteenth); nothing is measured where
/// more than half of the words are there, which no kernel here gains from. Any number of threads may call it.
SparseChoice sparse_choice(int64_t out, int64_t in, double density);

/// As if that had been measured for every product: for tests, and to know what zeros bring; absent: it is measured.
void set_sparse_choice(std::optional<SparseChoice> choice);

}  // namespace compression::kernels
