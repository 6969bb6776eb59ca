#pragma once
// Biases that take back what rounding moves the outputs by on average.

#include "compress/evaluate/inputs.h"  // each_input

namespace compression::quantize {

/// Adds to the bias of each int8 linear layer, per output, the mean over the texts' tokens of
/// original(x) - quantized(x), x being what the original's layer reads: of the rounding of weights and inputs (Nagel et
/// al., arXiv 1906.04721, section 4.2; Finkelstein et al., arXiv 1906.03193). One pass of the original suffices: a
/// layer whose own mean is right moves no mean that the next one reads. `original` is the float32 model that
/// `quantized` was made of. Returns the mean of the magnitudes that were added. Throws DataError if there are no texts;
/// Interrupted.
double correct_biases(Model& quantized, Model& original, const BatchSource& texts, const Context& context);

}  // namespace compression::quantize
