#include "recipes/manifest.h"

#include <fmt/format.h>

#include <algorithm>

#include "compress/base/error.h"                    // Error
#include "compress/base/fingerprint.h"              // file_fingerprint
#include "compress/base/json_file.h"                // read_json_file
#include "compress/base/message.h"                  // printable
#include "compress/model_files/sentence_modules.h"  // module_files
#include "compress/workflow/own_folder.h"           // manifest_name

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view rounds = "rounds/";  // of gradual pruning: may be removed at any time

json listed_file(const fs::directory_entry& entry) {
  return {{"bytes", entry.file_size()}, {"xxh128", file_fingerprint(entry.path())}};
}

/// Names, relative to the folder, of what is in it and no folder; links are not followed.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto name = entry.path().lexically_relative(folder).generic_string();
    const bool of_ours = name == manifest_name || name == unfinished_name || name == "metrics.jsonl";
    if (!of_ours && entry.symlink_status().type() != fs::file_type::directory) names.push_back(name);
  }
  return names;
}

bool is_of_model(const fs::directory_entry& entry) {
  const auto name = entry.path().filename().string();
  if (name == manifest_name || name == "report.json" || !entry.is_regular_file()) return false;
  if (printable(name) != name) return false;  // no file of a model has such a name, and JSON could not hold it
  const auto kind = entry.path().extension();
  return kind == ".json" || kind == ".txt" || kind == ".model" || kind == ".safetensors" || kind == ".gguf" ||
         kind == ".pt";
}

/// "1_Pooling"
bool is_module(const fs::directory_entry& entry) {
  const auto name = entry.path().filename().string();
  const auto digits = name.find_first_not_of("0123456789");
  return entry.is_directory() && digits != 0 && digits != name.npos && name[digits] == '_' && printable(name) == name;
}

}  // namespace

json list_files(const fs::path& folder) {
  auto files = json::object();
  for (const auto& name : names_in(folder)) {
    if (!name.starts_with(rounds)) files[name] = listed_file(fs::directory_entry(folder / name));
  }
  return files;
}

json list_removable(const fs::path& folder) {
  auto names = json::array();
  for (const auto& name : names_in(folder)) {
    if (name.starts_with(rounds)) names.push_back(name);
  }
  return names;
}

json list_model_files(const fs::path& folder) {
  auto files = json::object();
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_of_model(entry)) files[entry.path().filename().string()] = listed_file(entry);
    if (!is_module(entry)) continue;
    for (const auto& inner : fs::directory_iterator(entry)) {
      if (is_of_model(inner)) files[inner.path().lexically_relative(folder).generic_string()] = listed_file(inner);
    }
  }
  for (const auto& file : module_files(folder)) {
    const auto name = file.generic_string();
    if (!files.contains(name)) files[name] = listed_file(fs::directory_entry(folder / file));
  }
  return files;
}

std::optional<fs::path> foreign_file(const fs::path& folder) {
  if (!fs::exists(folder / manifest_name)) return std::nullopt;  // nothing there, or a folder that was not finished
  const auto manifest = read_json_file(folder / manifest_name);
  const auto files = manifest.value("files", json::object());
  const auto removable = manifest.value("removable", json::array());
  for (const auto& name : names_in(folder)) {
    const bool ours = files.contains(name) || std::ranges::find(removable, json(name)) != removable.end();
    if (!ours) return folder / name;
  }
  return std::nullopt;
}

std::optional<nlohmann::json> find_finished(const fs::path& folder, const std::string& fingerprint,
                                            std::string& reason) {
  reason.clear();
  if (!fs::exists(folder)) return std::nullopt;
  try {
    auto manifest = read_json_file(folder / manifest_name);
    if (manifest.at("format") != manifest_format || manifest.at("fingerprint").get<std::string>() != fingerprint) {
      reason = "its settings or inputs have changed";
      return std::nullopt;
    }
    for (const auto& [name, file] : manifest.at("files").items()) {
      const auto path = folder / name;
      if (!fs::exists(path) || fs::file_size(path) != file.at("bytes").get<uint64_t>() ||
          file_fingerprint(path) != file.at("xxh128").get<std::string>()) {
        reason = name + " is damaged or missing";
        return std::nullopt;
      }
    }
    return manifest;
  } catch (const Error& error) {
    reason = error.what();
  } catch (const nlohmann::json::exception&) {
    reason = fmt::format("{} is not one of ours", manifest_name);
  }
  return std::nullopt;
}

}  // namespace compression::recipes
