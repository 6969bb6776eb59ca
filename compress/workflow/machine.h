#pragma once
// What this computer is: named in reports, and asked before a kernel is chosen; and how much of it this process may
// use.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/base/processors.h"  // allowed_processors, require_threads

namespace compression {

/// Whether /proc/cpuinfo lists the flag: "avx512_bf16", "amx_int8", ...
bool processor_has(std::string_view flag);

/// How many processors' time the cgroup of this process gets, by cpu.max (v2) or cpu.cfs_quota_us (v1) of its group and
/// those above: rounded down, for threads that wait for each other should all run, and at least 1. Absent without a
/// quota. `root` stands for the folder /.
std::optional<int64_t> quota_processors(const std::filesystem::path& root = "/");

/// How many processors this process may keep busy: those that it may run on, or fewer by its quota; at least 1.
int64_t usable_processors();

inline constexpr int max_threads = 1024;

/// How many threads to use where nobody says: OMP_NUM_THREADS where it is set, else usable_processors(); at most
/// max_threads.
int default_threads();

/// Sets the number of LibTorch's threads, from 1 to max_threads. Throws as require_threads().
void use_threads(int count);

struct Machine {
  std::string processor;  // as /proc/cpuinfo names it
  int64_t cores = 0;
  int64_t processors = 0;       // usable_processors()
  int threads = 0;              // LibTorch's intra-op threads
  std::string instruction_set;  // what LibTorch's kernels use: AVX512, AVX2, ...
  std::string extensions;       // of those that matter here: "avx512_vnni avx512_bf16 amx_int8"
  std::string int8_engine;      // LibTorch's quantized engine
  std::string libtorch;         // version
};

Machine this_machine();
nlohmann::json machine_json(const Machine& machine);

/// "AMD EPYC, 2 cores, 2 threads; AVX512 with avx512_vnni; int8 engine x86; LibTorch 2.13.0"; "64 cores of which 2 may
/// be used" where affinity or a quota says so.
std::string describe(const Machine& machine);

/// Makes the C library keep memory that was given back, for the whole process: LibTorch asks for every tensor anew, and
/// pages that come from the system each time cost more than many an operator. For main() to call, where it suits the
/// program.
void keep_freed_memory();

}  // namespace compression
