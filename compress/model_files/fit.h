#pragma once
// Whether a model has rows for what a tokenizer gives.

#include <filesystem>
#include <string>
#include <vector>

#include "compress/spec/config.h"          // ModelConfig
#include "compress/tokenizer/tokenizer.h"  // Tokenizer

namespace compression {

/// What texts are made into for the model.
struct TextUse {
  bool pairs = false;  // two texts together
  bool masks = false;  // tokens become the mask
};

/// Compares all ids that the tokenizer can give, the token types of its template, its padding and its frame with the
/// model's tables. `model`: the folder or file, for messages. Returns a line for what can be computed unless a text has
/// it: added tokens without a row. Throws CheckpointError, one line with both names and numbers, for what can't.
std::vector<std::string> check_fit(const Tokenizer& tokenizer, const ModelConfig& config,
                                   const std::filesystem::path& model, const TextUse& use = {});

/// Of the first id without a row in an encoding: "<user>" (id 229), ...; empty if all have one.
std::string unusable_token(const Encoding& encoding, const Tokenizer& tokenizer);

}  // namespace compression
