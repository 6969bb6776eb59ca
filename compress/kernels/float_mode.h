#pragma once
// How a thread's floats are rounded.

#include <cfenv>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace compression::kernels {

/// While it lives, this thread rounds to nearest, ties to even, keeps denormal numbers and traps nothing, whatever the
/// process has set: the integers that floats are rounded to are the same.
class OrdinaryFloats {
 public:
#if defined(__SSE2__)
  OrdinaryFloats() : before_(_mm_getcsr()) { _mm_setcsr(0x1F80); }  // as a process begins
  ~OrdinaryFloats() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  OrdinaryFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~OrdinaryFloats() { std::fesetenv(&before_); }

 private:
  std::fenv_t before_;
#endif

 public:
  OrdinaryFloats(const OrdinaryFloats&) = delete;
  OrdinaryFloats& operator=(const OrdinaryFloats&) = delete;
};

}  // namespace compression::kernels
