#include "compress/workflow/own_folder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "compress/base/error.h"      // ConfigError, StorageError
#include "compress/base/json_file.h"  // read_json_file

namespace compression {
namespace {

namespace fs = std::filesystem;

bool has_own_manifest(const fs::path& folder) {
  try {
    const auto manifest = read_json_file(folder / manifest_name);
    const auto has = [&](const char* key, auto is) {
      const auto found = manifest.find(key);
      return found != manifest.end() && is(*found);
    };
    return manifest.is_object() && has("format", [](const auto& value) { return value.is_number_integer(); }) &&
           has("fingerprint", [](const auto& value) { return value.is_string(); }) &&
           has("stage", [](const auto& value) { return value.is_object(); });
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

bool is_ours(const fs::path& folder) {
  std::error_code error;
  const auto status = fs::symlink_status(folder, error);
  if (status.type() == fs::file_type::not_found) return true;
  if (!fs::is_directory(status)) return false;
  if (fs::is_regular_file(fs::symlink_status(folder / unfinished_name, error))) return true;
  if (has_own_manifest(folder)) return true;
  return fs::is_empty(folder, error) && !error;
}

void require_ours(const fs::path& path) {
  if (is_ours(path)) return;
  throw ConfigError(fmt::format("{}: {}", path.string(), not_ours_text));
}

void remove_ours(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(folder, error))) return;
  require_ours(folder);
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename();
    if (name == manifest_name || name == unfinished_name) continue;
    fs::remove_all(it->path(), error);
    if (error) break;
  }
  for (const auto* mark : {manifest_name, unfinished_name}) {
    if (!error) fs::remove(folder / mark, error);
  }
  if (!error) fs::remove(folder, error);
  if (error) throw StorageError(fmt::format("{}: can't be removed: {}", folder.string(), error.message()));
}

}  // namespace compression
