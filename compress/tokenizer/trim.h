#pragma once
// A tokenizer with fewer tokens.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "compress/tokenizer/tokenizer.h"  // Tokenizer

namespace compression {

/// Writes the tokenizer's files into `folder` with fewer tokens: those that are `used` (by id; there may be fewer
/// entries than ids), and those that it can't do without: added and special tokens, single characters and bytes, and
/// the parts that BPE merges a token from. Texts whose tokens are all used are encoded as before; others fall to
/// smaller pieces. Returns the ids that stay, ascending: a token's new id is its place there, the padding token's too.
/// Throws UnsupportedError if the tokenizer is a sentencepiece model without a tokenizer.json, StorageError.
std::vector<int64_t> trim_tokenizer(const Tokenizer& from, const std::vector<bool>& used,
                                    const std::filesystem::path& folder);

}  // namespace compression
