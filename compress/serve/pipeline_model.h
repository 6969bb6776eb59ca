#pragma once
// A model of a folder, computed without LibTorch, as the server asks it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "compress/serve/model.h"

namespace compression::serve {

/// A stage's folder, or one of Hugging Face's. max_length: tokens that a text may have, if not as many as the folder
/// says. warning: is told what is odd in the folder. Throws as Pipeline::load().
std::shared_ptr<const Model> load_model(const std::filesystem::path& folder, std::optional<int64_t> max_length,
                                        const std::function<void(const std::string& line)>& warning);

}  // namespace compression::serve
