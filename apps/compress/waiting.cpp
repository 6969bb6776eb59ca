// How OpenMP's threads wait for each other in this program. libgomp lets them spin for milliseconds, which is fast on a
// machine that does nothing else; where other programs want the processors too, they spin while they wait for one that
// is not running. It takes another count from the environment only, before main() and before any library is at work:
// so the program begins again, once, with GOMP_SPINCOUNT set. That is done ahead of the libraries' initialisation and
// takes about 2 ms. Arguments, name, process id, files, signals and all else that a process keeps at exec are as
// before.
//
// Nothing is done where GOMP_SPINCOUNT or OMP_WAIT_POLICY is set, and nothing is lost where the system refuses.

#if defined(__linux__)
#include <elf.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cstddef>

#if defined(__GLIBC__)  // others have no initialisation before that of the libraries
namespace {

// bench/busy.py measures: spinning for as long as waking takes.
char setting[] = "GOMP_SPINCOUNT=5000";

/// Without the C library, which is not initialised yet.
bool begins_with(const char* text, const char* start) {
  for (; *start != '\0'; ++text, ++start) {
    if (*text != *start) return false;
  }
  return true;
}

[[gnu::no_sanitize("address", "undefined", "thread")]] void begin_again(int, char** arguments, char** environment) {
  constexpr size_t most = 16384;
  static char* extended[most + 2];
  size_t count = 0;
  for (; environment[count] != nullptr && count < most; ++count) {
    const char* variable = environment[count];
    if (begins_with(variable, "GOMP_SPINCOUNT=") || begins_with(variable, "OMP_WAIT_POLICY=")) return;
    extended[count] = environment[count];
  }
  const auto* name = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  const bool through_loader = getauxval(AT_BASE) == 0;  // then `name` may be the loader's
  if (environment[count] != nullptr || name == nullptr || through_loader || getauxval(AT_SECURE) != 0) return;
  extended[count] = setting;
  extended[count + 1] = nullptr;
  execve(name, arguments, extended);
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)(int, char**, char**) = begin_again;

}  // namespace
#endif
#endif
