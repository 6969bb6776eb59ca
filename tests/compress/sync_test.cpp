// What is synced, and when: the program's own calls, taken down on their way to the system.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "compress/base/json_file.h"
#include "compress/workflow/folder_writer.h"
#include "compress/workflow/own_folder.h"
#include "tests/support.h"

namespace {

std::vector<std::string>* calls = nullptr;  // while a test listens

std::string name_of(int descriptor) {
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor)).filename().string();
}

std::string last(const char* path) {
  return std::filesystem::path(path).filename().string();
}

}  // namespace

// These stand before those of the C library.
extern "C" int fsync(int descriptor) {
  if (calls != nullptr) calls->push_back("sync " + name_of(descriptor));
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}
extern "C" int rename(const char* from, const char* to) noexcept {
  if (calls != nullptr) calls->push_back("rename " + last(to));
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
extern "C" int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (calls != nullptr) calls->push_back("rename " + last(to));
  return static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

namespace compression {
namespace {

using namespace testing;

template <class Action>
std::vector<std::string> calls_of(Action&& action) {
  std::vector<std::string> heard;
  calls = &heard;
  action();
  calls = nullptr;
  return heard;
}

TEST_CASE("a file is synced before it gets its name, and its folder after") {
  const TemporaryFolder folder;
  const auto own = folder.path().filename().string();
  for (int time = 0; time < 2; ++time) {  // new, and in place of another
    const auto heard = calls_of([&] { write_text_file(folder / "report.json", "{}\n"); });
    REQUIRE(heard.size() == 3);
    CHECK(heard[0].starts_with("sync "));
    CHECK(heard[1] == "rename report.json");
    CHECK(heard[2] == "sync " + own);
  }
}

TEST_CASE("a folder's files are synced before it gets its name, and what it is in after") {
  const TemporaryFolder folder;
  const auto own = folder.path().filename().string();
  for (int time = 0; time < 2; ++time) {
    FolderWriter writer(folder / "stage");
    write_text_file(writer.folder() / manifest_name, R"({"format": 1, "fingerprint": "0", "stage": {}})");
    const auto heard = calls_of([&] { writer.commit(); });
    const auto at = [&](const std::string& call) { return std::ranges::find(heard, call) - heard.begin(); };
    const auto named = at("rename stage"), count = static_cast<std::ptrdiff_t>(heard.size());
    REQUIRE(named < count);
    CHECK(at("sync " + std::string(manifest_name)) < named);
    CHECK(at("sync .stage.tmp") < named);
    CHECK(at("sync " + own) > named);
    CHECK(at("sync " + own) < count);
  }
}

}  // namespace
}  // namespace compression
