#include "compress/workflow/machine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "compress/base/error.h"   // StorageError
#include "compress/base/number.h"  // number_of

namespace compression {
namespace {

/// LibTorch's quantized engine.
std::string int8_engine() {
  switch (at::globalContext().qEngine()) {
    case at::QEngine::FBGEMM:
      return "fbgemm";
    case at::QEngine::QNNPACK:
      return "qnnpack";
    case at::QEngine::ONEDNN:
      return "onednn";
    case at::QEngine::X86:
      return "x86";
    default:
      return "none";
  }
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::string> result;
  for (std::string word; words >> word;) result.push_back(word);
  return result;
}

/// The words of a file of one line; none if it can't be read.
std::vector<std::string> words_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return words_of(line);
}

bool has_item(std::string_view list, std::string_view item) {
  for (size_t begin = 0; begin <= list.size();) {
    const auto end = std::min(list.find(',', begin), list.size());
    if (list.substr(begin, end - begin) == item) return true;
    begin = end + 1;
  }
  return false;
}

/// A mounted hierarchy of cgroups that may hold quotas: v2, or the cpu controller of v1.
struct Hierarchy {
  bool second = false;     // v2
  std::string group;       // the group that is at the mount's place
  std::string mounted_at;  // an absolute path
};

/// By /proc/self/mountinfo (proc(5)).
std::vector<Hierarchy> hierarchies(const std::filesystem::path& root) {
  std::vector<Hierarchy> found;
  std::ifstream mounts(root / "proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const auto words = words_of(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const auto& type = dash[1];
    if (type != "cgroup2" && !(type == "cgroup" && has_item(dash[3], "cpu"))) continue;
    found.push_back({type == "cgroup2", words[3], words[4]});
  }
  return found;
}

/// The group of this process in a hierarchy, by /proc/self/cgroup: "/user.slice".
std::optional<std::string> own_group(const std::filesystem::path& root, bool second) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/GROUP", "0::/GROUP"
    const auto first = line.find(':'), last = line.find(':', first + 1);
    if (first == std::string::npos || last == std::string::npos) continue;
    const auto controllers = std::string_view(line).substr(first + 1, last - first - 1);
    if (second ? line.starts_with("0::") : has_item(controllers, "cpu")) return line.substr(last + 1);
  }
  return std::nullopt;
}

/// Processors' time of one group; absent where it has no quota.
std::optional<double> quota_of(const std::filesystem::path& folder, bool second) {
  auto quota = words_in(folder / (second ? "cpu.max" : "cpu.cfs_quota_us"));
  if (!second) {
    const auto period = words_in(folder / "cpu.cfs_period_us");
    quota.insert(quota.end(), period.begin(), period.end());
  }
  if (quota.size() < 2) return std::nullopt;
  const auto time = number_of<int64_t>(quota[0]), period = number_of<int64_t>(quota[1]);  // "max" and -1 are no quota
  if (!time || !period || *time <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*time) / static_cast<double>(*period);
}

}  // namespace

bool processor_has(std::string_view flag) {
  static const std::string flags = processor_info("flags");
  std::istringstream words(flags);
  for (std::string word; words >> word;) {
    if (word == flag) return true;
  }
  return false;
}

std::optional<int64_t> quota_processors(const std::filesystem::path& root) {
  std::optional<double> least;
  for (const auto& [second, group, mounted_at] : hierarchies(root)) {
    auto own = own_group(root, second).value_or("/");
    // The mount of a container shows its own group as the top; in its namespace the group's name may be another.
    own = own.starts_with(group) ? own.substr(group.size()) : group == "/" ? own : "";
    const auto top = root / std::filesystem::path(mounted_at).relative_path();
    for (auto folder = top / std::filesystem::path(own).relative_path();; folder = folder.parent_path()) {
      const auto quota = quota_of(folder, second);
      if (quota && (!least || *quota < *least)) least = quota;
      if (folder.string().size() <= top.string().size()) break;
    }
  }
  if (!least) return std::nullopt;
  return std::max<int64_t>(1, static_cast<int64_t>(std::min(*least, 1e6)));
}

int64_t usable_processors() {
  auto count = static_cast<int64_t>(allowed_processors().size());
  if (count == 0) count = static_cast<int64_t>(std::thread::hardware_concurrency());
  return std::max<int64_t>(1, std::min(count, quota_processors().value_or(count)));
}

int default_threads() {
  const char* setting = std::getenv("OMP_NUM_THREADS");  // a number, or a list of one a level
  const std::string_view text = setting == nullptr ? "" : setting;
  const auto asked = number_of<int64_t>(text.substr(0, text.find(',')));
  return static_cast<int>(std::min<int64_t>(asked && *asked > 0 ? *asked : usable_processors(), max_threads));
}

void use_threads(int count) {
  require_threads(count - 1);
  at::set_num_threads(count);
}

Machine this_machine() {
  Machine machine{.processor = processor_info("model name"),
                  .cores = static_cast<int64_t>(std::thread::hardware_concurrency()),
                  .processors = usable_processors(),
                  .threads = at::get_num_threads(),
                  .instruction_set = at::get_cpu_capability(),
                  .extensions = {},
                  .int8_engine = int8_engine(),
                  .libtorch = TORCH_VERSION};
  for (const auto* flag : {"avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}) {
    if (processor_has(flag)) machine.extensions += (machine.extensions.empty() ? "" : " ") + std::string(flag);
  }
  return machine;
}

nlohmann::json machine_json(const Machine& machine) {
  return {{"processor", machine.processor},
          {"cores", machine.cores},
          {"processors", machine.processors},
          {"threads", machine.threads},
          {"instruction_set", machine.instruction_set},
          {"extensions", machine.extensions},
          {"int8_engine", machine.int8_engine},
          {"libtorch", machine.libtorch}};
}

std::string describe(const Machine& machine) {
  const auto part =
      machine.processors < machine.cores ? fmt::format(" of which {} may be used", machine.processors) : "";
  return fmt::format("{}, {} cores{}, {} thread{}; {}{}{}; int8 engine {}; LibTorch {}", machine.processor,
                     machine.cores, part, machine.threads, machine.threads == 1 ? "" : "s", machine.instruction_set,
                     machine.extensions.empty() ? "" : " with ", machine.extensions, machine.int8_engine,
                     machine.libtorch);
}

void keep_freed_memory() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace compression
