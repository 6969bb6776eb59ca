#include "recipes/output_folder.h"

#include <fmt/format.h>

#include <algorithm>

#include "compress/base/error.h"           // Error, StorageError
#include "compress/base/json_file.h"       // read_json_file
#include "compress/workflow/own_folder.h"  // is_ours, not_ours_text
#include "recipes/text.h"                  // in_quotes

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;

struct Named {
  std::string key;
  fs::path path;
};

/// Files and folders of a recipe.
struct Places {
  std::vector<Named> read;    // models, data, references that are no stage
  std::vector<Named> caches;  // of teachers' outputs
};

Places places_of(const Recipe& recipe) {
  Places places;
  const auto is_stage = [&](const std::string& name) {
    return std::any_of(recipe.stages.begin(), recipe.stages.end(), [&](const auto& stage) { return stage.id == name; });
  };
  for_each_value(recipe, "", [&]<class T>(const std::string& key, const T& value) {
    if constexpr (std::same_as<T, fs::path>) {
      if (key.ends_with("teacher_cache.folder")) {
        places.caches.push_back({key, value});
      } else if (key != "output") {
        places.read.push_back({key, value});
      }
    } else if constexpr (std::same_as<T, Reference>) {
      if (!is_stage(value.name)) places.read.push_back({key, value.name});
    }
  });
  return places;
}

/// An absolute path without links, as far as there is something, and without `..`.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  auto result = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) result = fs::absolute(path, error).lexically_normal();
  return result.has_filename() ? result : result.parent_path();
}

/// Whether `inner` is `outer` or lies in it. Both are resolved(); what is there is compared as the file system does,
/// which may not tell capital letters from small ones.
bool is_within(fs::path inner, const fs::path& outer) {
  for (;;) {
    std::error_code error;
    if (inner == outer || (fs::equivalent(inner, outer, error) && !error)) return true;
    auto above = inner.parent_path();
    if (above == inner) return false;
    inner = std::move(above);
  }
}

/// Where something is that is read: the file itself, and where a link to it stands.
std::vector<fs::path> places_of(const fs::path& input) {
  auto link = fs::absolute(input);
  if (!link.has_filename()) link = link.parent_path();
  return {resolved(input), resolved(link.parent_path()) / link.filename()};
}

void require_apart(const Recipe& recipe, Problems& problems) {
  const auto places = places_of(recipe);
  const auto output = resolved(recipe.output);
  for (const auto& [key, path] : places.read) {
    std::error_code error;
    if (path.empty() || !fs::exists(path, error)) continue;  // told by itself
    const auto told = fmt::format("{} ({})", key, in_quotes(path.string()));
    for (const auto& input : places_of(path)) {
      const bool holds = is_within(input, output), lies_in = is_within(output, input);
      if (!holds && !lies_in) continue;
      problems.add("output", fmt::format("found {}, which {} {}; expected a folder apart from what is read",
                                         in_quotes(recipe.output.string()),
                                         holds && lies_in ? "is"
                                         : holds          ? "holds"
                                                          : "lies in",
                                         told));
      break;
    }
    for (const auto& cache : places.caches) {
      if (!fs::is_directory(path, error) || !is_within(resolved(cache.path), resolved(path))) continue;
      problems.add(cache.key, fmt::format("found {}, which is or lies in {}; expected a folder apart from what is read",
                                          in_quotes(cache.path.string()), told));
    }
  }
}

/// Whether a name is one that a run gives to what it keeps of an unfinished stage: "state-0.safetensors",
/// "precision.json", "rounds.json", and of gradual pruning "3", "3.cut", "3.gone", "3.train", ".3.tmp".
bool is_resume_name(std::string_view name) {
  const auto strip = [&](std::string_view end) {
    if (name.ends_with(end)) name.remove_suffix(end.size());
  };
  strip(".partial");
  if (name == "state-0.safetensors" || name == "state-1.safetensors") return true;
  if (name == "precision.json" || name == "rounds.json") return true;
  if (name.starts_with('.')) {
    name.remove_prefix(1);
    strip(".tmp");
    strip(".old");
  }
  strip(".cut");
  strip(".gone");
  strip(".train");
  return !name.empty() && name.find_first_not_of("0123456789") == name.npos;
}

bool is_own_resume_folder(const fs::path& folder) {
  std::error_code error;
  const auto status = fs::symlink_status(folder, error);
  if (!fs::exists(status)) return true;
  if (!fs::is_directory(status)) return false;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!is_resume_name(it->path().filename().string())) return false;
  }
  return !error;
}

/// A stage's folder may be somewhere else, with a link to it in its place: as long as it is up to date.
bool is_stage_folder(const fs::path& path) {
  std::error_code error;
  return is_ours(path) ||
         (fs::is_symlink(path, error) && fs::exists(path, error) && is_ours(fs::canonical(path, error)));
}

bool is_own_report(const fs::path& file) {
  try {
    const auto report = read_json_file(file);
    return report.is_object() && report.contains("stages") && report.contains("machine") && report.contains("met");
  } catch (const Error&) {
    return false;
  }
}

void require_own_reports(const Recipe& recipe, Problems& problems) {
  std::error_code error;
  const bool own = is_own_report(recipe.output / "report.json");
  for (const auto* name : {"report.json", "report.md", "report.svg"}) {
    const auto path = recipe.output / name;
    if (own && (fs::is_regular_file(path, error) || !fs::exists(path, error))) continue;
    problems.require(!fs::exists(fs::symlink_status(path, error)), "output",
                     fmt::format("found {}, in which {} is not a report of ours, so it is not replaced; expected a "
                                 "folder without it: move it away",
                                 in_quotes(recipe.output.string()), name));
  }
}

}  // namespace

fs::path resume_folder(const Recipe& recipe, const std::string& id) {
  return recipe.output / ("." + id + ".resume");
}

void remove_resume_folder(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (is_resume_name(it->path().filename().string())) fs::remove_all(it->path(), error);
    if (error) break;
  }
  if (error == std::errc::no_such_file_or_directory) return;
  if (!error) fs::remove(folder, error);
  if (error && error != std::errc::directory_not_empty) {
    throw StorageError(fmt::format("{}: can't be removed: {}", folder.string(), error.message()));
  }
}

void validate_output(const Recipe& recipe, Problems& problems) {
  if (recipe.output.empty()) return;
  const auto before = problems.list().size();
  require_apart(recipe, problems);
  if (problems.list().size() > before) return;  // what stands in that folder is somebody's anyway
  const auto in_the_way = [&](const std::string& key, const fs::path& path) {
    problems.add(key, fmt::format("{} {}", in_quotes(path.string()), not_ours_text));
  };
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto& id = recipe.stages[i].id;
    if (!is_plain_name(id)) continue;  // told by itself
    const auto key = join_key("stages", i) + ".id";
    if (!is_stage_folder(recipe.output / id)) in_the_way(key, recipe.output / id);
    for (const auto* suffix : {".tmp", ".old"}) {
      const auto path = recipe.output / ("." + id + suffix);
      if (!is_ours(path)) in_the_way(key, path);
    }
    if (!is_own_resume_folder(resume_folder(recipe, id))) in_the_way(key, resume_folder(recipe, id));
  }
  std::error_code error;
  const auto cache = recipe.output / "cache";
  if (fs::exists(cache, error) && !fs::is_directory(cache, error)) in_the_way("output", cache);
  require_own_reports(recipe, problems);
}

}  // namespace compression::recipes
