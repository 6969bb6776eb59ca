#pragma once
// What a model's folder says of how its texts are to be read.

#include <cstdint>
#include <filesystem>
#include <optional>

#include "compress/pipeline/answer_finder.h"  // AnswerConfig
#include "compress/spec/config.h"             // ModelConfig
#include "compress/tokenizer/tokenizer.h"     // Tokenizer

namespace compression {

/// What a recipe made the folder with, of what its users need again: of its compress.json.
struct Trained {
  std::optional<int64_t> max_length;
  AnswerConfig answers;
};

/// Of a folder without a compress.json the defaults. Throws CheckpointError where its numbers can't be.
Trained trained_with(const std::filesystem::path& folder);

/// Tokens that a text is cut to where nobody says: what the model was trained with, else what the tokenizer's files and
/// the model's positions allow; of a model for embedding also what its folder says of sentences. `config`: absent of a
/// file alone.
int64_t longest_text(const std::optional<ModelConfig>& config, const Tokenizer& tokenizer, const Trained& trained);

}  // namespace compression
