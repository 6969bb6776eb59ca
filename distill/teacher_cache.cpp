#include "distill/teacher_cache.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <set>

#include "compress/base/error.h"                    // CheckpointError, StorageError
#include "compress/base/fields.h"                   // enum_name
#include "compress/base/fingerprint.h"              // Fingerprint
#include "compress/model_files/sentence_modules.h"  // module_files
#include "compress/state_dict/checked_tensors.h"    // read_checked, write_checked
#include "compress/tokenizer/sentence_settings.h"   // transformer_folder
#include "compress/workflow/folder_lock.h"          // FolderLock

namespace compression::distill {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "teacher-", suffix = ".safetensors", unfinished = ".partial";

bool is_ours(const fs::path& file, std::string_view end = {}) {
  auto name = file.filename().string();
  if (!name.ends_with(end)) return false;
  name.resize(name.size() - end.size());
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return false;
  const auto key = std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  return key.size() == 32 && key.find_first_not_of("0123456789abcdef") == key.npos && fs::is_regular_file(file);
}

constexpr int format = 2;  // of what is kept, and of what it depends on

}  // namespace

std::string teacher_key(const fs::path& folder, const TaskHead& head, std::optional<uint64_t> new_head,
                        bool hidden_states, const BatchSource& source, std::string_view arithmetic) {
  Fingerprint all;
  const auto add = [&](std::string_view text) { all.add(fmt::format("{}:{}", text.size(), text)); };
  add(COMPRESS_VERSION);
  add(fmt::format("format {}", format));
  add(enum_name(head.task));
  for (const auto& label : head.labels) add(label);
  add(new_head ? fmt::format("a new head of seed {}", *new_head) : "the files' head");
  const auto encoder = transformer_folder(folder);
  std::set<fs::path> files = {encoder / "config.json"};
  for (const auto& entry : fs::directory_iterator(encoder)) {
    if (entry.path().extension() == ".safetensors") files.insert(entry.path());
  }
  if (const auto modules = folder / "modules.json"; fs::exists(modules)) files.insert(modules);
  for (const auto& file : module_files(folder)) files.insert(folder / file);
  for (const auto& file : files) add(file_fingerprint(file));
  add(arithmetic);
  add(hidden_states ? "hidden states" : "logits");
  for (const auto& examples : source.plan(0)) {
    const auto batch = source.collate(examples);
    for (const auto& tensor : {batch.input_ids(), batch.attention_mask(), batch.token_type_ids(), batch.examples}) {
      all.add(tensor.data_ptr(), tensor.nbytes());
    }
  }
  return all.text();
}

fs::path TeacherCache::file(const std::string& key) const {
  return folder_ / fmt::format("{}{}{}", prefix, key, suffix);
}

std::optional<TeacherCache::Tensors> TeacherCache::find(const std::string& key) const {
  std::error_code ignored;
  if (!fs::exists(file(key), ignored)) return std::nullopt;
  try {
    auto tensors = read_checked(file(key)).tensors;
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
  const FolderLock lock(folder_);
  std::error_code error;
  struct Entry {
    fs::file_time_type used;
    fs::path path;
    int64_t bytes;
  };
  std::vector<Entry> entries;
  int64_t held = bytes;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // another run may remove a damaged file at any time
    if (is_ours(it->path(), unfinished)) fs::remove(it->path(), gone);  // of a run that was killed: nobody else writes
    if (!is_ours(it->path()) || it->path() == file(key)) continue;
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
  write_checked(file(key), tensors, {{"format", "pt"}});
  return true;
}

}  // namespace compression::distill
