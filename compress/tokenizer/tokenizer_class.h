#pragma once
// What transformers' tokenizer classes make of a tokenizer.json, and of what the files beside it say.

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/tokenizer/tokenizer_settings.h"

namespace compression {

struct AppliedClass {
  std::map<std::string, std::string> tokens = {};     // what has a role: "cls_token" and its text
  std::optional<nlohmann::json> post_processor = {};  // of the file, where the class has another in its place
  std::vector<std::string> warnings = {};  // where two files say different things, and which is followed; a line each
};

/// Makes of a tokenizer.json what AutoTokenizer of transformers 5 makes of it. Of the file the classes take vocabulary,
/// merges and added tokens alone: normalizer, pre-tokenizer and of most classes post-processor are built anew
/// from tokenizer_config.json (do_lower_case, strip_accents, tokenize_chinese_chars, add_prefix_space, ...) and the
/// class's defaults. A class that is not among those that `settings` knows changes nothing of these. Added and special
/// tokens that the other files name join those of the file. `path` is the file. Throws CheckpointError.
AppliedClass apply_tokenizer_class(nlohmann::json& document, const std::filesystem::path& path,
                                   const TokenizerSettings& settings);

}  // namespace compression
