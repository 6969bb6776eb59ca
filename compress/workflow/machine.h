#pragma once
// What this computer is: named in reports, and asked before a kernel is chosen.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace compression {

/// Whether /proc/cpuinfo lists the flag: "avx512_bf16", "amx_int8", ...
bool processor_has(std::string_view flag);

struct Machine {
  std::string processor;  // as /proc/cpuinfo names it
  int64_t cores = 0;
  int threads = 0;              // LibTorch's intra-op threads
  std::string instruction_set;  // what LibTorch's kernels use: AVX512, AVX2, ...
  std::string extensions;       // of those that matter here: "avx512_vnni avx512_bf16 amx_int8"
  std::string int8_engine;      // LibTorch's quantized engine
  std::string libtorch;         // version
};

Machine this_machine();
nlohmann::json machine_json(const Machine& machine);

/// "AMD EPYC, 2 cores, 2 threads; AVX512 with avx512_vnni; int8 engine x86; LibTorch 2.13.0"
std::string describe(const Machine& machine);

/// Makes the C library keep memory that was given back, for the whole process: LibTorch asks for every tensor anew, and
/// pages that come from the system each time cost more than many an operator. For main() to call, where it suits the
/// program.
void keep_freed_memory();

}  // namespace compression
