#pragma once
// What a decoder makes of the beginnings of texts, word by word.

#include <cstdint>
#include <functional>
#include <vector>

#include "compress/model/language_model.h"  // LanguageModel

namespace compression {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  /// 0: the likeliest word each time, of several the first. Else words are drawn, with logits / temperature.
  double temperature = 0.0;
  int64_t top_k = 0;   // drawn of so many; 0: of all
  double top_p = 1.0;  // drawn of the likeliest that have so much together (Holtzman et al., arXiv 1904.09751)
  uint64_t seed = 17;  // a text's words do not depend on the texts beside it, but for rounding
  std::vector<int64_t> end_ids = {};  // a text ends with one of these
};

/// Is told each word as it is made: which text, and its id.
using OnToken = std::function<void(size_t text, int64_t id)>;

/// The ids that follow each of `prompts`, with the one that it ended with, if any. Computes all texts together, the
/// keys and values of what was read kept. A text ends at the latest where the model's positions do. Throws ConfigError
/// for an empty prompt, UnsupportedError for one that is longer than the model's positions or has an id of no word
/// of the model's, or where there is an encoder.
std::vector<std::vector<int64_t>> generate(LanguageModel& model, const std::vector<std::vector<int64_t>>& prompts,
                                           const GenerateOptions& options, const OnToken& on_token = {});

/// The id that is drawn of float32 [vocabulary] with `chance`, from 0 to 1.
int64_t drawn_word(const torch::Tensor& logits, const GenerateOptions& options, double chance);

}  // namespace compression
