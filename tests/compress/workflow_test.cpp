#include "tests/support.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "compress/workflow/error.h"
#include "compress/workflow/fingerprint.h"
#include "compress/workflow/folder_lock.h"
#include "compress/workflow/folder_writer.h"
#include "compress/workflow/input_files.h"
#include "compress/workflow/machine.h"
#include "compress/workflow/peak_memory.h"

namespace compression {
namespace {

using namespace testing;
namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST_CASE("a folder is there after commit and not before") {
  const TemporaryFolder root;
  {
    FolderWriter writer(root / "stage");
    write_file(writer.folder() / "a", "1");
    CHECK_FALSE(fs::exists(root / "stage"));
    writer.commit();
  }
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
  CHECK(read_file(root / "stage/a") == "1");
}

TEST_CASE("a folder that is not committed leaves nothing and the old one as it was") {
  const TemporaryFolder root;
  fs::create_directories(root / "stage");
  write_file(root / "stage/a", "old");
  {
    FolderWriter writer(root / "stage");
    write_file(writer.folder() / "a", "new");
  }
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
  CHECK(read_file(root / "stage/a") == "old");
}

TEST_CASE("a committed folder takes the place of the old one whole") {
  const TemporaryFolder root;
  fs::create_directories(root / "stage");
  write_file(root / "stage/gone", "old");
  FolderWriter writer(root / "stage");
  write_file(writer.folder() / "a", "new");
  writer.commit();
  CHECK(names_in(root / "stage") == std::vector<std::string>{"a"});
}

TEST_CASE("what a killed run left is cleared away") {
  const TemporaryFolder root;
  fs::create_directories(root / ".stage.tmp");
  write_file(root / ".stage.tmp/half", "x");
  FolderWriter writer(root / "stage");
  CHECK(names_in(writer.folder()).empty());
}

TEST_CASE("a folder that can't be made is an error that names it") {
  const TemporaryFolder root;
  write_file(root / "file", "x");
  const auto message = message_of<StorageError>([&] { FolderWriter writer(root / "file/stage"); });
  CHECK_THAT(message, Catch::Contains("file/.stage.tmp"));
}

TEST_CASE("only one lock on a folder at a time") {
  const TemporaryFolder root;
  {
    const FolderLock lock(root / "run");
    const auto message = message_of<StorageError>([&] { FolderLock second(root / "run"); });
    CHECK_THAT(message, Catch::Contains("another run"));
  }
  CHECK_NOTHROW(FolderLock(root / "run"));
}

TEST_CASE("fingerprints tell contents apart") {
  const TemporaryFolder root;
  write_file(root / "a", "one");
  write_file(root / "b", "one");
  write_file(root / "c", "two");
  CHECK(file_fingerprint(root / "a") == file_fingerprint(root / "b"));
  CHECK(file_fingerprint(root / "a") != file_fingerprint(root / "c"));
  CHECK(file_fingerprint(root / "a") == fingerprint("one"));
  CHECK(fingerprint("").size() == 32);
  CHECK_THROWS_AS(file_fingerprint(root / "none"), StorageError);
}

TEST_CASE("a folder that a kill left half replaced is there again") {
  const TemporaryFolder root;
  fs::create_directories(root / ".stage.old");  // as between the two renames of a file system that can't exchange
  fs::create_directories(root / ".stage.tmp");
  write_file(root / ".stage.old/a", "old");
  clear_leftovers(root / "stage");
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
  CHECK(read_file(root / "stage/a") == "old");
  fs::create_directories(root / ".stage.old");  // as after them
  clear_leftovers(root / "stage");
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
}

TEST_CASE("input files that change are told, those that are only touched are not") {
  const TemporaryFolder root;
  write_file(root / "a", "one");
  write_file(root / "b", "two");
  InputFiles files;
  files.add(root / "a");
  files.add(root / "b");
  CHECK_NOTHROW(files.check());
  write_file(root / "b", "two");
  CHECK_NOTHROW(files.check());
  SECTION("same size") {
    write_file(root / "b", "owt");
  }
  SECTION("replaced") {
    write_file(root / "c", "six");
    fs::rename(root / "c", root / "b");
  }
  SECTION("removed") {
    fs::remove(root / "b");
  }
  CHECK_THAT(message_of<DataError>([&] { files.check(); }), Catch::Contains((root / "b").string() + ": changed while"));
}

TEST_CASE("the peak of memory counts from where it is asked") {
  const auto work = [](size_t bytes) {
    const PeakMemory memory(torch::kCPU);
    // Pages of the system's own: an allocator, a sanitizer's above all, may keep what it is given back.
    void* pages = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    std::memset(pages, 1, bytes);
    ::munmap(pages, bytes);
    CHECK_FALSE(memory.device_bytes());
    return memory.host_bytes().value();
  };
  const auto small = work(1 << 20), large = work(200 << 20);
  CHECK(large - small > 150 << 20);
  if (std::ofstream("/proc/self/clear_refs") << "5\n" << std::flush) CHECK(large - work(1 << 20) > 150 << 20);
}

TEST_CASE("this machine has a name, threads and a LibTorch") {
  const auto machine = this_machine();
  CHECK_FALSE(machine.processor.empty());
  CHECK(machine.threads >= 1);
  CHECK(machine.libtorch.starts_with("2."));
  CHECK_FALSE(processor_has("no_such_flag"));
}

}  // namespace
}  // namespace compression
