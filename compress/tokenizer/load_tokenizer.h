#pragma once
// Tokenizers of folders, by the classes that there are.

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "compress/tokenizer/class_rules.h"
#include "compress/tokenizer/tokenizer.h"

namespace compression {

/// load_tokenizer() of tokenizer.h, which has the classes of all families (compress/families/families.cpp).
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& given, std::optional<int64_t> rows,
                                                const std::vector<TokenizerClass>& classes);

}  // namespace compression
