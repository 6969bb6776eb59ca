#pragma once
// Which folders are this program's own making. Nothing else is ever replaced or removed.

#include <filesystem>
#include <string>

#include "compress/base/files.h"  // manifest_name

namespace compression {

inline constexpr auto unfinished_name = ".compress-unfinished";  // an empty file, in a folder that is being written

/// What is said, behind its name, of what is in the way and not of this program's making.
inline constexpr auto not_ours_text =
    "is there and not of this program's making (no compress.json of ours), so it is not replaced; expected nothing "
    "there: move it away, or choose another name";

/// Whether the folder is of this program's making: it has a compress.json of ours, or is one that was not finished, or
/// is empty. A link to one is not. Where nothing is there, nothing is in the way: true.
bool is_ours(const std::filesystem::path& folder);

/// Throws ConfigError that names what is at `path` unless is_ours().
void require_ours(const std::filesystem::path& path);

/// Removes a folder that is_ours(), its mark last, so that a kill on the way leaves it ours. Throws ConfigError if it
/// is not, StorageError if the system refuses.
void remove_ours(const std::filesystem::path& folder);

}  // namespace compression
