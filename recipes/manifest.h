#pragma once
// compress.json: how a stage's folder came to be, and what it holds (docs/artifact.md).

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace compression::recipes {

inline constexpr int manifest_format = 1;

/// Sizes and hashes of a folder's files, without compress.json and the log metrics.jsonl, which holds clock times:
/// {"model.safetensors": {"bytes": 1, "xxh128": "..."}}.
nlohmann::json list_files(const std::filesystem::path& folder);

/// The manifest of a folder that is whole: compress.json can be read and has the fingerprint, and every file that it
/// lists is there with its size and hash. Absent otherwise, and `reason` says why ("", if there is no such folder).
std::optional<nlohmann::json> find_finished(const std::filesystem::path& folder, const std::string& fingerprint,
                                            std::string& reason);

}  // namespace compression::recipes
