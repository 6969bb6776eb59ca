#pragma once
// What every reader and writer of files says and does alike.

#include <filesystem>
#include <string>
#include <string_view>

namespace compression {

/// The file of a stage's folder, which is finished when it is there.
inline constexpr auto manifest_name = "compress.json";

/// "PATH: can't be opened: Permission denied": `what` could not be done, for the system's `reason` (an errno; 0: not
/// known, left out).
std::string refused(const std::filesystem::path& path, std::string_view what, int reason);

/// Waits until a file's bytes, or a folder's names, are on the disk. A file system that can't do that with folders is
/// left alone. Throws StorageError.
void sync_path(const std::filesystem::path& path);

/// Makes a folder and those above it, if they are not there. Throws StorageError.
void make_folder(const std::filesystem::path& folder);

/// The folder that `path` is in; "." of a name alone.
std::filesystem::path parent_of(const std::filesystem::path& path);

}  // namespace compression
