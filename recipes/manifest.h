#pragma once
// compress.json: how a stage's folder came to be, and what it holds (docs/artifact.md).

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace compression::recipes {

inline constexpr int manifest_format = 1;

/// Sizes and hashes of a folder's files, those of its folders too, without compress.json, the log metrics.jsonl, which
/// holds clock times, and rounds/: {"model.safetensors": {"bytes": 1, "xxh128": "..."}}.
nlohmann::json list_files(const std::filesystem::path& folder);

/// The names of what is in rounds/, which may be removed at any time: ["rounds/1/model.safetensors"].
nlohmann::json list_removable(const std::filesystem::path& folder);

/// The same of a checkpoint folder, of what a model and its tokenizer may be read from alone: .json, .txt, .model,
/// .safetensors, .gguf and .pt in it and in the folders of sentence-transformers' modules (1_Pooling), without what
/// runs write (compress.json, report.json). What else is there changes nothing.
nlohmann::json list_model_files(const std::filesystem::path& folder);

/// The manifest of a folder that is whole: compress.json can be read and has the fingerprint, and every file that it
/// lists is there with its size and hash. Absent otherwise, and `reason` says why ("", if there is no such folder).
std::optional<nlohmann::json> find_finished(const std::filesystem::path& folder, const std::string& fingerprint,
                                            std::string& reason);

/// A file of a stage's folder that its manifest does not list: somebody else put it there. Absent if there is none, or
/// no such folder.
std::optional<std::filesystem::path> foreign_file(const std::filesystem::path& folder);

}  // namespace compression::recipes
