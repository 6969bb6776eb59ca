#pragma once
// Which instructions beyond Highway's targets products are made with: those that the processor has, unless a test chose
// others.

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "compress/kernels/linear.h"  // Multiplier
#include "compress/kernels/tiles.h"   // has_amx

namespace compression::kernels {

inline Multiplier multiplier = Multiplier::best;

inline bool use_avx_vnni() {
#if defined(__x86_64__)
  static const bool has = [] {  // not __builtin_cpu_supports(), of which not every compiler knows the feature
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
  }();
  return has && multiplier == Multiplier::best;
#else
  return false;
#endif
}

/// Of ARM's extensions, what the kernel says of the processor: a bit of a word of getauxval().
inline bool has_capability([[maybe_unused]] int word, [[maybe_unused]] int bit) {
#if defined(__aarch64__) && defined(__linux__)
  return multiplier == Multiplier::best && (getauxval(word == 1 ? AT_HWCAP : AT_HWCAP2) >> bit & 1) != 0;
#else
  return false;
#endif
}
inline bool use_dot_product() {
  return has_capability(1, 20);  // HWCAP_ASIMDDP
}
inline bool use_mixed_products() {
  return has_capability(2, 13);  // HWCAP2_I8MM
}

inline bool use_amx(Number number) {
  return multiplier == Multiplier::best && has_amx(number);
}

}  // namespace compression::kernels
