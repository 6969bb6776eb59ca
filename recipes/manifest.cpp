#include "recipes/manifest.h"

#include <fmt/format.h>

#include "compress/checkpoint/json_file.h"  // read_json_file
#include "compress/workflow/error.h"        // Error
#include "compress/workflow/fingerprint.h"  // file_fingerprint

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;
constexpr auto manifest_name = "compress.json";

}  // namespace

nlohmann::json list_files(const fs::path& folder) {
  auto files = nlohmann::json::object();
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (name == manifest_name || name == "metrics.jsonl" || !entry.is_regular_file()) continue;
    files[name] = {{"bytes", entry.file_size()}, {"xxh128", file_fingerprint(entry.path())}};
  }
  return files;
}

std::optional<nlohmann::json> find_finished(const fs::path& folder, const std::string& fingerprint,
                                            std::string& reason) {
  reason.clear();
  if (!fs::exists(folder)) return std::nullopt;
  try {
    auto manifest = read_json_file(folder / manifest_name);
    if (manifest.at("format") != manifest_format || manifest.at("fingerprint") != fingerprint) {
      reason = "its settings or inputs have changed";
      return std::nullopt;
    }
    for (const auto& [name, file] : manifest.at("files").items()) {
      const auto path = folder / name;
      if (!fs::exists(path) || fs::file_size(path) != file.at("bytes") || file_fingerprint(path) != file.at("xxh128")) {
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
