#include "tests/support.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "compress/base/byte_size.h"
#include "compress/base/error.h"
#include "compress/base/fingerprint.h"
#include "compress/base/json_file.h"
#include "compress/workflow/folder_lock.h"
#include "compress/workflow/folder_writer.h"
#include "compress/workflow/input_files.h"
#include "compress/workflow/machine.h"
#include "compress/workflow/own_folder.h"
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

constexpr auto manifest = R"({"format": 1, "fingerprint": "f", "stage": {"id": "stage"}})";

TEST_CASE("a folder is there after commit and not before") {
  const TemporaryFolder root;
  {
    FolderWriter writer(root / "stage");
    write_file(writer.folder() / "a", "1");
    CHECK_FALSE(fs::exists(root / "stage"));
    writer.commit();
  }
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
  CHECK(names_in(root / "stage") == std::vector<std::string>{"a"});
  CHECK(read_file(root / "stage/a") == "1");
}

TEST_CASE("a folder that is not committed leaves nothing and the old one as it was") {
  const TemporaryFolder root;
  fs::create_directories(root / "stage");
  write_file(root / "stage/a", "old");
  write_file(root / "stage/compress.json", manifest);
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
  write_file(root / "stage/compress.json", manifest);
  FolderWriter writer(root / "stage");
  write_file(writer.folder() / "a", "new");
  writer.commit();
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
  CHECK(names_in(root / "stage") == std::vector<std::string>{"a"});
}

TEST_CASE("nothing that is not of this program's making is replaced or removed") {
  const TemporaryFolder root;
  const auto foreign = GENERATE("stage", ".stage.tmp", ".stage.old");
  const auto path = root / foreign;
  SECTION("a folder of somebody") {
    fs::create_directories(path);
    write_file(path / "thesis.txt", "years");
  }
  SECTION("one with somebody's own compress.json") {
    fs::create_directories(path);
    write_file(path / "compress.json", R"({"format": "zip"})");
    write_file(path / "thesis.txt", "years");
  }
  SECTION("a file") {
    write_file(path, "years");
  }
  SECTION("a link to a folder of ours") {
    fs::create_directories(root / "elsewhere");
    write_file(root / "elsewhere/compress.json", manifest);
    fs::create_directory_symlink(root / "elsewhere", path);
  }
  const auto before = names_in(root.path());
  CHECK_FALSE(is_ours(path));
  CHECK_THAT(message_of<ConfigError>([&] { FolderWriter writer(root / "stage"); }),
             Catch::Contains(path.string() + ": is there and not of this program's making"));
  CHECK_THROWS_AS(remove_ours(path), ConfigError);
  CHECK(names_in(root.path()) == before);
  if (fs::is_directory(path)) CHECK(fs::exists(path / (fs::is_symlink(path) ? "compress.json" : "thesis.txt")));
  if (fs::is_regular_file(path)) CHECK(read_file(path) == "years");
}

TEST_CASE("what comes in the way while a folder is written is not replaced either") {
  const TemporaryFolder root;
  {
    FolderWriter writer(root / "stage");
    write_file(writer.folder() / "a", "new");
    fs::create_directories(root / "stage");
    write_file(root / "stage/thesis.txt", "years");
    CHECK_THROWS_AS(writer.commit(), ConfigError);
  }
  CHECK(names_in(root.path()) == std::vector<std::string>{"stage"});
  CHECK(read_file(root / "stage/thesis.txt") == "years");
}

TEST_CASE("a kill at any step of removing a folder leaves one that is known as ours") {
  const TemporaryFolder root;
  for (const auto* mark : {manifest_name, unfinished_name}) {
    const auto folder = root / "stage";
    fs::create_directories(folder / "inner");
    write_file(folder / "inner/a", "1");
    write_file(folder / mark, mark == manifest_name ? manifest : "");
    CHECK(is_ours(folder));
    fs::remove_all(folder / "inner");  // what is removed first
    CHECK(is_ours(folder));
    fs::remove(folder / mark);
    CHECK(is_ours(folder));
    remove_ours(folder);
    CHECK_FALSE(fs::exists(folder));
    CHECK(is_ours(folder));  // nothing is in the way
  }
}

TEST_CASE("what a killed run left is cleared away") {
  const TemporaryFolder root;
  fs::create_directories(root / ".stage.tmp");
  write_file(root / ".stage.tmp/half", "x");
  write_file(root / ".stage.tmp" / unfinished_name, "");
  FolderWriter writer(root / "stage");
  CHECK(names_in(writer.folder()) == std::vector<std::string>{unfinished_name});
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
  write_file(root / ".stage.old/compress.json", manifest);
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
  CHECK(machine.processors >= 1);
  CHECK(machine.processors <= std::max<int64_t>(machine.cores, 1));
  CHECK(machine_json(machine).at("processors") == machine.processors);
  auto part = machine;
  part.cores = 64;
  part.processors = 2;
  CHECK_THAT(describe(part), Catch::Contains(", 64 cores of which 2 may be used, "));
}

TEST_CASE("threads are as many as OMP_NUM_THREADS says, else as processors that may be used") {
  const char* set = std::getenv("OMP_NUM_THREADS");
  const std::string before = set == nullptr ? "" : set;
  const auto with = [](const char* value) {
    ::setenv("OMP_NUM_THREADS", value, 1);
    return default_threads();
  };
  CHECK(with("3") == 3);
  CHECK(with("5,2") == 5);
  CHECK(with("100000") == max_threads);
  for (const auto* nothing : {"", "0", "-1", "many", "99999999999999999999"}) {
    INFO(nothing);
    CHECK(with(nothing) == usable_processors());
  }
  ::unsetenv("OMP_NUM_THREADS");
  CHECK(default_threads() == usable_processors());
  if (set != nullptr) ::setenv("OMP_NUM_THREADS", before.c_str(), 1);

  cpu_set_t all, one;
  REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(allowed_processors().back()), &one);
  CHECK(static_cast<int>(allowed_processors().size()) == CPU_COUNT(&all));
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(usable_processors() == 1);
  CHECK(allowed_processors().size() == 1);
  REQUIRE(sched_setaffinity(0, sizeof all, &all) == 0);
  CHECK_NOTHROW(require_threads(8));
}

TEST_CASE("the quota of a cgroup is the least of its group's and those above, rounded down") {
  const TemporaryFolder root;
  const auto put = [&](const std::string& name, std::string_view text) {
    fs::create_directories((root / name).parent_path());
    write_file(root / name, text);
  };
  SECTION("version 2, in the host") {
    put("proc/self/cgroup", "0::/a.slice/b.scope\n");
    put("proc/self/mountinfo",
        "24 30 0:22 / /proc rw - proc proc rw\n"
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    CHECK_FALSE(quota_processors(root.path()));
    put("sys/fs/cgroup/a.slice/b.scope/cpu.max", "max 100000\n");
    CHECK_FALSE(quota_processors(root.path()));
    put("sys/fs/cgroup/a.slice/b.scope/cpu.max", "450000 100000\n");
    CHECK(quota_processors(root.path()) == 4);
    put("sys/fs/cgroup/a.slice/cpu.max", "250000 100000\n");
    CHECK(quota_processors(root.path()) == 2);
    put("sys/fs/cgroup/a.slice/cpu.max", "30000 100000\n");
    CHECK(quota_processors(root.path()) == 1);
  }
  SECTION("version 2, in a container's namespace") {
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", "30 24 0:26 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("sys/fs/cgroup/cpu.max", "300000 100000\n");
    CHECK(quota_processors(root.path()) == 3);
  }
  SECTION("version 1, in a container: the mount shows its own group as the top") {
    put("proc/self/cgroup", "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/docker/1f\n");
    put("proc/self/mountinfo",
        "33 24 0:29 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "34 24 0:30 /docker/1f /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    CHECK_FALSE(quota_processors(root.path()));
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
    CHECK(quota_processors(root.path()) == 2);
  }
  SECTION("none, or what can't be read") {
    CHECK_FALSE(quota_processors(root.path()));
    put("proc/self/cgroup", "what\n0:\n");
    put("proc/self/mountinfo", "what\n30 24 0:26 / /sys/fs/cgroup rw - cgroup2\n\n");
    CHECK_FALSE(quota_processors(root.path()));
  }
}

TEST_CASE("a pipe where a file is to be written or read is refused, and nothing waits") {
  const TemporaryFolder root;
  REQUIRE(::mkfifo((root / "report.json").c_str(), 0600) == 0);
  CHECK_THAT(message_of<StorageError>([&] { write_text_file(root / "report.json", "{}"); }),
             Catch::Contains("report.json: is a pipe"));
  CHECK_THROWS_AS(read_json_file(root / "report.json"), CheckpointError);
  CHECK(fs::is_fifo(root / "report.json"));
}

TEST_CASE("sizes and counts of any magnitude are shown with what tells them apart") {
  CHECK(shown_bytes(0) == "0 B");
  CHECK(shown_bytes(512) == "512 B");
  CHECK(shown_bytes(1000, 2) == "1.00 kB");
  CHECK(shown_bytes(45'678) == "45.68 kB");
  CHECK(shown_bytes(200'000, 2) == "0.20 MB");
  CHECK(shown_bytes(90'868'376) == "90.9 MB");
  CHECK(shown_count(7) == "7");
  CHECK(shown_count(12'345) == "12.35 k");
  CHECK(shown_count(22'713'216) == "22.7 M");
}

}  // namespace
}  // namespace compression
