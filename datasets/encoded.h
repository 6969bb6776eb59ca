#pragma once
// Encoded texts as a BatchSource with length-bucketed batches.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "compress/task/batch_source.h"    // BatchSource
#include "compress/tokenizer/tokenizer.h"  // Encoding

namespace compression::datasets {

/// Tokens to guess, as BERT chooses them (arXiv 1810.04805): of those that are not special each by itself, and at least
/// one a text; 80 % become the mask, 10 % another word and 10 % stay. They follow from BatchOptions::seed, epoch
/// and example.
struct Masking {
  double share = 0.15;
  int64_t mask_id = 0;
  int64_t vocabulary_size = 0;            // random words are below it
  std::vector<int64_t> special_ids = {};  // never masked, ascending
};

/// Encoded texts with what they are labelled with: at most one of rows, tokens and masking.
struct Examples {
  std::vector<Encoding> encodings;
  torch::Tensor rows = {};                        // [examples, ...]: what a batch's labels hold a row of each example
  std::vector<std::vector<int64_t>> tokens = {};  // a label a token, or ignored_label
  std::optional<Masking> masking = {};            // labels are the tokens that are masked
  int64_t together = 1;                           // so many after each other stay in one batch: 2 for pairs
  std::function<std::unique_ptr<Scorer>(const BatchOptions&)> scorer = {};
};

/// Batches of examples of similar length. With options.shuffle: a permutation by seed and epoch, cut into chunks of 50
/// batches, each sorted by length and cut into batches, whose order is shuffled. Without: all examples sorted by
/// length, longest first (so that the peak of memory comes at once). Rows are padded to the longest of their batch.
///
/// With options.max_examples the source holds that subset only, in the order of the whole: positions count in the
/// subset. Plans depend on seed, epoch and lengths alone, and are the same on every platform.
///
/// Texts without a token are in no plan, nor are those without one that is labelled (`tokens`) or can be masked
/// (`masking`), nor whoever stays together with one: BatchSource::left_out(). Without rows, tokens and masking, a text
/// without a token is a DataError: there is nothing that a model could answer.
///
/// Examples that stay together count as one for the batch size and the subset. Throws DataError if there are no
/// examples, or not as many labels as encodings; ConfigError for a batch size below 1 or a negative number of examples.
std::shared_ptr<const BatchSource> make_batch_source(Examples examples, int64_t pad_id, const BatchOptions& options);

/// The same with a class a text; `labels` may be empty.
std::shared_ptr<const BatchSource> make_batch_source(std::vector<Encoding> encodings,
                                                     const std::vector<int64_t>& labels, int64_t pad_id,
                                                     const BatchOptions& options);

/// One batch of texts without labels, in their order. Throws DataError if there are none, or one has no token.
Batch make_batch(std::vector<Encoding> encodings, int64_t pad_id);

}  // namespace compression::datasets
