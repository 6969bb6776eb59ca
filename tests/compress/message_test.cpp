#include "compress/base/message.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/base/failure.h"
#include "compress/base/files.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

TEST_CASE("what a terminal would obey is escaped, and only that") {
  CHECK(printable("plain, caf\u00e9 \u6f22\u5b57 \U0001f600") == "plain, caf\u00e9 \u6f22\u5b57 \U0001f600");
  CHECK(printable("a\nb\tc\rd") == "a\\nb\\tc\\rd");
  CHECK(printable("\x1b[31mred\x7f") == "\\x1b[31mred\\x7f");
  CHECK(printable(std::string_view("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\u0085\u009b2J") == "\\u0085\\u009b2J");
  CHECK(printable("\u202egnp.exe\u2066\u2028") == "\\u202egnp.exe\\u2066\\u2028");
  CHECK(printable("caf\xe9/\x9b") == "caf\\xe9/\\x9b");
  CHECK(printable("\xf0\x9f\x98") == "\\xf0\\x9f\\x98");
  CHECK(printable(printable("\x1b\xe9\n")) == printable("\x1b\xe9\n"));
}

TEST_CASE("a long line loses its middle, never half a character") {
  const auto cut = one_line("data.jsonl:3: found " + std::string(100'000, 'x') + ", expected a number");
  CHECK(cut.size() <= longest_line);
  CHECK_THAT(cut, Catch::StartsWith("data.jsonl:3: found x") && Catch::Contains("x...x") &&
                      Catch::EndsWith("x, expected a number"));
  for (size_t longest = 10; longest < 30; ++longest) {
    std::string text;
    while (text.size() < 1000) text += "\u6f22\u00e9";
    const auto shown = one_line(text, longest);
    CHECK(shown.size() <= longest);
    CHECK(printable(shown) == shown);
  }
  CHECK(one_line(std::string(longest_line, 'y')) == std::string(longest_line, 'y'));
  CHECK(one_line(std::string(50'000'000, '\x1b')).size() <= longest_line);
}

TEST_CASE("every error's message is on one line, of ConfigError a line a problem") {
  CHECK(std::string(CheckpointError("a\nb\x1b[2J").what()) == "a\\nb\\x1b[2J");
  CHECK(std::string(DataError(std::string(100'000, 'x')).what()).size() <= longest_line);
  CHECK(std::string(ConfigError("a\n\x1b" + std::string(100'000, 'x') + "\nb").what()).size() < longest_line + 10);
  CHECK(std::string(ConfigError("a\nb\x1b").what()) == "a\nb\\x1b");
}

TEST_CASE("JSON has U+FFFD in place of bytes that are not UTF-8") {
  const nlohmann::json words = {"caf\xe9", "ok"};
  CHECK(json_text(words) == "[\"caf\xef\xbf\xbd\",\"ok\"]");
  CHECK(nlohmann::json::parse(json_text(words, 2))[1] == "ok");
}

TEST_CASE("memory that runs out is told as that, whoever noticed") {
  const auto caught = [](auto&& work) -> std::string {
    try {
      work();
    } catch (const std::exception& error) {
      return is_out_of_memory(error) ? failure_text(error) : "another: " + failure_text(error);
    }
    return "nothing";
  };
  CHECK(caught([] { throw std::bad_alloc(); }) == "out of memory");
#ifndef __SANITIZE_ADDRESS__  // whose allocator ends the program
  CHECK(caught([] { (void)c10::GetCPUAllocator()->allocate(size_t{1} << 62); }) == "out of memory");
#endif
  CHECK(caught([] { throw OutOfMemory("model.safetensors: 5 bytes"); }) == "out of memory: model.safetensors: 5 bytes");
  CHECK(caught([] {
          throw std::runtime_error(
              "The following operation failed in the TorchScript interpreter.\n... "
              "DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes.");
        }) == "out of memory");
  CHECK(caught([] { TORCH_CHECK(false, "no such thing"); }).starts_with("another: internal error: no such thing"));
  CHECK(caught([] { TORCH_CHECK(false, "a"); }).find('\n') == std::string::npos);
  CHECK(caught([] { throw DataError("std::bad_alloc.txt:1: is a name"); }) ==
        "another: std::bad_alloc.txt:1: is a name");
}

TEST_CASE("what the system refused is told with its reason") {
  CHECK(refused("a/b", "can't be opened", EACCES) == "a/b: can't be opened: Permission denied");
  CHECK(refused("a/b", "can't be opened", 0) == "a/b: can't be opened");
}

}  // namespace
}  // namespace compression
