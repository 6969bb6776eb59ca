#pragma once
// Encoded texts as a BatchSource with length-bucketed batches.

#include <memory>
#include <vector>

#include "compress/tokenizer/tokenizer.h"  // Encoding
#include "compress/train/batch.h"          // BatchSource

namespace compression::datasets {

/// Batches of examples of similar length. With options.shuffle: a permutation by seed and epoch, cut into chunks of 50
/// batches, each sorted by length and cut into batches, whose order is shuffled. Without: all examples sorted by
/// length, longest first (so that the peak of memory comes at once). Rows are padded to the longest of their batch.
///
/// With options.max_examples the source holds that subset only, in the order of the whole: positions count in the
/// subset. Plans depend on seed, epoch and lengths alone, and are the same on every platform.
///
/// `labels` may be empty. Throws DataError if there are no examples, or not as many labels as encodings; ConfigError
/// for a batch size below 1 or a negative number of examples.
std::shared_ptr<const BatchSource> make_batch_source(std::vector<Encoding> encodings, std::vector<int64_t> labels,
                                                     int64_t pad_id, const BatchOptions& options);

}  // namespace compression::datasets
