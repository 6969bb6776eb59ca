#include "compress/workflow/machine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/version.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "compress/model/int8_linear.h"  // int8_engine

namespace compression {
namespace {

/// The value of a key of /proc/cpuinfo's first processor.
std::string processor_info(std::string_view key) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
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

Machine this_machine() {
  Machine machine{.processor = processor_info("model name"),
                  .cores = static_cast<int64_t>(std::thread::hardware_concurrency()),
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
  return {{"processor", machine.processor},   {"cores", machine.cores},
          {"threads", machine.threads},       {"instruction_set", machine.instruction_set},
          {"extensions", machine.extensions}, {"int8_engine", machine.int8_engine},
          {"libtorch", machine.libtorch}};
}

std::string describe(const Machine& machine) {
  return fmt::format("{}, {} cores, {} threads; {}{}{}; int8 engine {}; LibTorch {}", machine.processor, machine.cores,
                     machine.threads, machine.instruction_set, machine.extensions.empty() ? "" : " with ",
                     machine.extensions, machine.int8_engine, machine.libtorch);
}

void keep_freed_memory() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace compression
