// Choices between kernels that outlive a process.

#include "compress/kernels/kept_choices.h"

#include <cstdlib>

#include "compress/base/json_file.h"
#include "compress/base/processors.h"
#include "compress/kernels/bfloat16_choice.h"
#include "compress/kernels/sparse_choice.h"
#include "compress/kernels/timing.h"
#include "tests/support.h"

namespace compression::kernels {
namespace {

using namespace testing;
using nlohmann::json;

struct KeptNowhereAfterwards {
  ~KeptNowhereAfterwards() { keep_choices({}); }
};

MeasuredOnce<int> numbers() {
  return {[](const int& number) { return json(number); },
          [](const json& kept) { return kept.is_number_integer() ? std::optional(kept.get<int>()) : std::nullopt; }};
}

TEST_CASE("a choice is measured once, and read by the next process") {
  REQUIRE_FALSE(processor_name().empty());
  const KeptNowhereAfterwards afterwards;
  const TemporaryFolder folder;
  const auto file = folder.path() / "new" / "kernels.json";
  keep_choices(file);
  int measured = 0;
  const auto measure = [&] { return 40 + ++measured; };
  auto first = numbers();
  CHECK(first.get("a", measure) == 41);
  CHECK(first.get("a", measure) == 41);
  CHECK(first.get("b", measure) == 42);
  auto next = numbers();  // as in another process
  CHECK(next.get("a", measure) == 41);
  CHECK(next.get("b", measure) == 42);
  CHECK(measured == 2);

  // It is this processor's; those of others stay as they are.
  auto all = read_json_file(file);
  REQUIRE(all.size() == 1);
  const auto own = all.begin().key();
  CHECK(own.starts_with(processor_name()));
  all["another"] = {{"a", 7}};
  all[own]["a"] = "no number";
  write_text_file(file, all.dump());
  auto third = numbers();
  CHECK(third.get("a", measure) == 43);
  CHECK(read_json_file(file).at("another").at("a") == 7);
  CHECK(read_json_file(file).at(own).at("a") == 43);
}

TEST_CASE("a file of choices that is no such file, or can't be written, is as good as none") {
  const KeptNowhereAfterwards afterwards;
  const TemporaryFolder folder;
  const auto file = folder.path() / "kernels.json";
  for (const auto* text : {"", "{", "[1]", "3"}) {
    CAPTURE(text);
    write_text_file(file, text);
    keep_choices(file);
    CHECK(numbers().get("a", [] { return 5; }) == 5);
    CHECK(read_json_file(file).is_object());
  }
  write_text_file(folder.path() / "no folder", "");
  keep_choices(folder.path() / "no folder" / "kernels.json");
  CHECK(numbers().get("a", [] { return 6; }) == 6);
  keep_choices({});
  CHECK(numbers().get("a", [] { return 8; }) == 8);
}

TEST_CASE("kernels keep what they measured") {
  const KeptNowhereAfterwards afterwards;
  const TemporaryFolder folder;
  const auto file = folder.path() / "kernels.json";
  keep_choices(file);
  const auto sparse = sparse_choice(300, 700, 0.1);  // sizes that no other test has
  const auto wide = bfloat16_choice(3000);
  sparse_choice(300, 700, 0.9);  // nothing to measure
  const auto kept = read_json_file(file).begin().value();
  REQUIRE(kept.size() == 2);
  for (const auto& [key, choice] : kept.items()) {
    CAPTURE(key);
    if (choice.contains("speedup")) {
      CHECK(choice == json({{"fewest_rows", sparse.fewest_rows}, {"speedup", sparse.speedup}}));
    } else {
      CHECK(choice == json({{"bfloat16_ms", wide.bfloat16_ms}, {"float32_ms", wide.float32_ms}}));
    }
  }
}

TEST_CASE("where choices are kept is what the environment says") {
  const auto* before = std::getenv("XDG_CACHE_HOME");
  const auto restored = before == nullptr ? std::string() : std::string(before);
  setenv("XDG_CACHE_HOME", "/some/cache", 1);
  CHECK(usual_choices_file() == "/some/cache/compress/kernels.json");
  setenv("XDG_CACHE_HOME", "not/absolute", 1);  // as the specification has it, of no use
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    CHECK(usual_choices_file() == std::filesystem::path(home) / ".cache" / "compress" / "kernels.json");
  }
  before == nullptr ? unsetenv("XDG_CACHE_HOME") : setenv("XDG_CACHE_HOME", restored.c_str(), 1);
}

}  // namespace
}  // namespace compression::kernels
