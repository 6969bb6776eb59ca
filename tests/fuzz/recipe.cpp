// A recipe, and behind a separator the values of two --set options.

#include "recipes/load.h"
#include "recipes/write.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzzing::Input input(data, size);
  const std::string text(input.part());
  std::vector<std::string> overrides;
  while (!input.empty() && overrides.size() < 2) overrides.emplace_back(input.part());
  fuzzing::allow_errors([&] {
    const auto recipe = recipes::parse_recipe(text, "r.yaml", overrides, recipes::FileCheck::off);
    const auto written = recipes::to_yaml(recipe);
    const auto again = recipes::to_yaml(recipes::parse_recipe(written, "r.yaml", {}, recipes::FileCheck::off));
    if (written != again) fuzzing::finding("a recipe that is another one when it is written and read again");
  });
  return 0;
}
