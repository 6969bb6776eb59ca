#include "compress/kernels/kept_choices.h"

#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "compress/base/error.h"       // Error
#include "compress/base/files.h"       // make_folder
#include "compress/base/json_file.h"   // read_json_file, write_text_file
#include "compress/base/processors.h"  // processor_name

namespace compression::kernels {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Kept {
  std::mutex mutex;
  fs::path file;
};
Kept& kept() {
  static Kept all;
  return all;
}

/// The file's key for this processor and release; empty: nothing is kept.
const std::string& section() {
  static const auto processor = processor_name();
  static const auto name = processor.empty() ? processor : processor + "; compress " COMPRESS_VERSION;
  return name;
}

/// The file's object, or an empty one.
json content(const fs::path& file) {
  try {
    auto all = read_json_file(file);
    if (all.is_object()) return all;
  } catch (const Error&) {  // not there yet, or none of ours
  }
  return json::object();
}

}  // namespace

void keep_choices(fs::path file) {
  const std::lock_guard<std::mutex> lock(kept().mutex);
  kept().file = std::move(file);
}

fs::path usual_choices_file() {
  for (const auto& [variable, below] : {std::pair("XDG_CACHE_HOME", ""), std::pair("HOME", ".cache")}) {
    const char* value = std::getenv(variable);
    const auto folder = fs::path(value == nullptr ? "" : value);
    if (folder.is_absolute()) return folder / below / "compress" / "kernels.json";
  }
  return {};
}

std::optional<json> kept_choice(const std::string& key) {
  const std::lock_guard<std::mutex> lock(kept().mutex);
  if (kept().file.empty() || section().empty()) return std::nullopt;
  const auto all = content(kept().file);
  const auto own = all.find(section());
  if (own == all.end() || !own->is_object() || !own->contains(key)) return std::nullopt;
  return own->at(key);
}

void keep_choice(const std::string& key, const json& choice) {
  const std::lock_guard<std::mutex> lock(kept().mutex);
  if (kept().file.empty() || section().empty()) return;
  try {
    auto all = content(kept().file);
    auto& own = all[section()];
    if (!own.is_object()) own = json::object();
    own[key] = choice;
    make_folder(kept().file.parent_path());
    write_text_file(kept().file, all.dump(1) + "\n");
  } catch (const Error&) {  // a read-only home, a full disk: it is measured again next time
  }
}

}  // namespace compression::kernels
