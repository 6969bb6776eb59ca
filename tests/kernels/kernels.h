#pragma once
// What tests of kernels share: the instruction sets that they run on.

#include <hwy/targets.h>

#include <cstdlib>
#include <string_view>

#include "compress/kernels/linear.h"
#include "tests/support.h"

namespace compression::testing {

inline float* floats(const torch::Tensor& t) {
  return t.data_ptr<float>();
}

/// Makes the kernels of one instruction set be chosen, while it lives; 0: the best.
class OnlyTarget {
 public:
  explicit OnlyTarget(int64_t target) { hwy::SetSupportedTargetsForTest(target); }
  ~OnlyTarget() { hwy::SetSupportedTargetsForTest(0); }
  OnlyTarget(const OnlyTarget&) = delete;
  OnlyTarget& operator=(const OnlyTarget&) = delete;
};

class OnlyMultiplier {
 public:
  explicit OnlyMultiplier(kernels::Multiplier chosen) { kernels::choose_multiplier_for_test(chosen); }
  ~OnlyMultiplier() { kernels::choose_multiplier_for_test(kernels::Multiplier::best); }
  OnlyMultiplier(const OnlyMultiplier&) = delete;
  OnlyMultiplier& operator=(const OnlyMultiplier&) = delete;
};

/// One of Highway's targets; or instructions beyond them, which its kernels take where the processor has them and which
/// then give `int8_kernel` or `bfloat16_kernel` this name.
struct InstructionSet {
  std::string_view name;
  int64_t target;
  kernels::Multiplier multiplier = kernels::Multiplier::of_target;
  std::string_view int8_kernel = {}, bfloat16_kernel = {};

  /// Whether kernels are compiled for it and this processor has it.
  bool is_here() const {
    constexpr int64_t everywhere = HWY_EMU128 | HWY_SCALAR;
    if ((target & kernels::compiled_targets() & (hwy::SupportedTargets() | everywhere)) == 0) return false;
    const OnlyTarget only(target);
    const OnlyMultiplier chosen(multiplier);
    return (int8_kernel.empty() || kernels::int8_kernel() == int8_kernel) &&
           (bfloat16_kernel.empty() || kernels::bfloat16_kernel() == bfloat16_kernel);
  }
};

/// The plainest first.
inline std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> all = {{"EMU128", HWY_EMU128 | HWY_SCALAR}};
#if HWY_ARCH_X86
  all.insert(all.end(), {{"SSSE3", HWY_SSSE3},
                         {"SSE4", HWY_SSE4},
                         {"AVX2", HWY_AVX2},
                         {"AVX3", HWY_AVX3},
                         {"AVX3_DL", HWY_AVX3_DL},
                         {"AVX-VNNI", HWY_AVX2, kernels::Multiplier::best, "AVX-VNNI", {}},
                         {"AVX-512 BF16", HWY_AVX3_DL, kernels::Multiplier::of_target, {}, "AVX-512 BF16"},
                         {"AMX", HWY_AVX3_DL, kernels::Multiplier::best, "AMX", {}},
                         {"AMX BF16", HWY_AVX3_DL, kernels::Multiplier::best, {}, "AMX BF16"}});
#elif HWY_ARCH_ARM
  all.insert(all.end(), {{"NEON", HWY_NEON}, {"SVE", HWY_SVE}, {"SVE2", HWY_SVE2}});
#endif
  return all;
}

/// The targets to test: those that are here; with $COMPRESS_INSTRUCTION_SET, a name, that one alone.
inline std::vector<int64_t> targets() {
  const char* chosen = std::getenv("COMPRESS_INSTRUCTION_SET");
  std::vector<int64_t> some;
  for (const auto& set : instruction_sets()) {
    if (chosen != nullptr ? set.name != chosen : !set.is_here()) continue;
    if (std::ranges::find(some, set.target) == some.end()) some.push_back(set.target);
  }
  return some;
}

}  // namespace compression::testing
