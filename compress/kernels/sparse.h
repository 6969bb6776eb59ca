#pragma once
// Products with int8 weights most of whose words are zero: the others are kept with their places, and only they are
// multiplied. A word is what an instruction multiplies at once: four inputs of an output where bytes are multiplied,
// two where they are widened to 16 bits. So zeros pay in blocks of 1x4 (with 2:4 they don't), elsewhere in pairs too.

#include <cstdint>

#include "compress/kernels/buffer.h"  // Buffer

namespace compression::kernels {

struct LinearInput;
struct LinearWeight;
struct Epilogue;
struct Range;

/// The words of an int8 weight that are not zero, panel by panel of outputs. Those of a panel stand by blocks of
/// inputs, of which the rows of activations that are multiplied together stay in a near cache; in a block, output by
/// output in pairs (the last one may have a word of zeros with it), outputs with most pairs first, so that loops of one
/// length follow each other.
struct SparseWords {
  int64_t width = 0;        // of the rows of activations, in words of these
  int64_t block = 0;        // words of a row in a block
  Buffer<uint8_t> output;   // [panels, blocks, panel's width]: which of the panel's
  Buffer<uint8_t> pairs;    // the same: how many pairs it has in the block
  Buffer<uint32_t> begin;   // [panels]: where the words of each begin
  Buffer<uint8_t> place;    // which of the block's words of a row of activations each is multiplied by
  Buffer<uint32_t> values;  // four int8 each, or two int16
  int64_t fewest_rows = 0;  // of activations for which this form is taken; 0: for none

  bool present() const { return width > 0; }
  int64_t blocks() const { return (width + block - 1) / block; }
};

/// Inputs of an output that are zero together when a word of it is left out on this machine: 4 or 2.
int64_t sparse_word();

/// Of int8 [out, in], the part that SparseWords keeps on this machine: words that are not zero by all words. 0 to 1.
double sparse_density(const int8_t* values, int64_t out, int64_t in);

/// The words of int8 [out, in]; pack_linear() made the rest of `weight` of the same values.
void pack_sparse(const int8_t* values, int64_t out, int64_t in, LinearWeight& weight);

/// As multiply(), and bit by bit what it gives, by the words of `weight.sparse`.
void multiply_sparse(const LinearInput& x, const LinearWeight& weight, Range rows, Range panels,
                     const Epilogue& epilogue, float* y, int64_t ld);

}  // namespace compression::kernels
