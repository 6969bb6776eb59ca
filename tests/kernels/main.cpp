// Runs tests of kernels, on every instruction set that is here, or on the one that $COMPRESS_INSTRUCTION_SET names: if
// that is not here, with exit code 77 (ctest: skipped).
#define CATCH_CONFIG_RUNNER
#include <iostream>

#include "tests/kernels/kernels.h"

int main(int argc, char** argv) {
  using namespace compression::testing;
  const auto sets = instruction_sets();
  if (const char* chosen = std::getenv("COMPRESS_INSTRUCTION_SET")) {
    const auto set = std::ranges::find(sets, chosen, &InstructionSet::name);
    if (set == sets.end()) {
      std::cerr << "COMPRESS_INSTRUCTION_SET: found " << chosen << ", which is not among those that are known\n";
      return 1;
    }
    if (!set->is_here()) {
      std::cout << "skipped: " << chosen << ", which this processor does not have\n";
      return 77;
    }
  } else {
    for (const auto& set : sets) {
      if (!set.is_here()) std::cout << "not tested, for it is not here: " << set.name << '\n';
    }
  }
  return Catch::Session().run(argc, argv);
}
