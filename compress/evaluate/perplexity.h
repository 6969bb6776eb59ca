#pragma once
// How well a decoder foretells texts.

#include <cmath>
#include <cstdint>
#include <vector>

#include "compress/model/language_model.h"  // LanguageModel
#include "compress/workflow/context.h"      // Context

namespace compression {

struct Perplexity {
  double loss = 0.0;      // the mean cross-entropy of the tokens that were foretold, in nats
  int64_t tokens = 0;     // of all documents
  int64_t predicted = 0;  // all but the first of each window
  int64_t windows = 0;

  double value() const { return std::exp(loss); }
};

/// Of documents' ids, each cut into windows of `window` tokens that are read apart, so that nothing is foretold from
/// another window or document; windows of one token are left out. Several windows are computed at once, of `window`
/// tokens together. Throws ConfigError for a window of fewer than 2 tokens, UnsupportedError for one of more than the
/// model has positions for and for ids that it has no word for, DataError if there is nothing to foretell; Interrupted.
Perplexity perplexity(LanguageModel& model, const std::vector<std::vector<int64_t>>& documents, int64_t window,
                      const Context& context);

}  // namespace compression
