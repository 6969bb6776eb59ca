#include "distill/teacher_cache.h"

#include <fmt/format.h>
#include <torch/types.h>
#include <unistd.h>

#include <algorithm>

#include "compress/checkpoint/safetensors.h"  // SafetensorsFile, write_safetensors
#include "compress/workflow/error.h"          // CheckpointError, StorageError

namespace compression::distill {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "teacher-", suffix = ".safetensors";

bool is_ours(const fs::path& file) {
  const auto name = file.filename().string();
  return name.starts_with(prefix) && name.ends_with(suffix);
}

}  // namespace

fs::path TeacherCache::file(const std::string& key) const {
  return folder_ / fmt::format("{}{}{}", prefix, key, suffix);
}

std::optional<TeacherCache::Tensors> TeacherCache::find(const std::string& key) const {
  std::error_code ignored;
  if (!fs::exists(file(key), ignored)) return std::nullopt;
  try {
    const auto opened = SafetensorsFile::open(file(key));
    Tensors tensors;
    for (const auto& [name, info] : opened.tensors()) tensors[name] = opened.read(name);
    fs::last_write_time(file(key), fs::file_time_type::clock::now(), ignored);
    return tensors;
  } catch (const CheckpointError&) {
    fs::remove(file(key), ignored);
    return std::nullopt;
  }
}

bool TeacherCache::keep(const std::string& key, const Tensors& tensors) const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  if (bytes > max_) return false;
  std::error_code error;
  fs::create_directories(folder_, error);
  struct Entry {
    fs::file_time_type used;
    fs::path path;
    int64_t bytes;
  };
  std::vector<Entry> entries;
  int64_t held = bytes;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    if (!is_ours(it->path()) || it->path() == file(key)) continue;
    std::error_code gone;  // another run may remove a file at any time
    const auto size = it->file_size(gone);
    const auto used = it->last_write_time(gone);
    if (gone) continue;
    entries.push_back({used, it->path(), static_cast<int64_t>(size)});
    held += entries.back().bytes;
  }
  if (error) throw StorageError(fmt::format("{}: {}", folder_.string(), error.message()));
  std::ranges::sort(entries, {}, &Entry::used);
  for (const auto& entry : entries) {
    if (held <= max_) break;
    if (fs::remove(entry.path, error)) held -= entry.bytes;
  }
  const auto temporary = folder_ / fmt::format(".{}.{}", key, getpid());
  try {
    write_safetensors(temporary, tensors);
  } catch (...) {
    fs::remove(temporary, error);
    throw;
  }
  fs::rename(temporary, file(key), error);
  if (error) {
    const auto why = error.message();
    fs::remove(temporary, error);
    throw StorageError(fmt::format("{}: can't be written: {}", file(key).string(), why));
  }
  return true;
}

}  // namespace compression::distill
