#pragma once
// Mixed precision on the CPU, for the length of a scope.

#include "compress/train/config.h"  // Precision

namespace compression {

/// Whether `precision` means bfloat16 here: automatic does where the processor has bf16 arithmetic.
bool uses_bfloat16(Precision precision);

/// Runs LibTorch's CPU autocast to bfloat16 while it lives, if `enabled`. Parameters cast on the way are forgotten at its end.
class Autocast {
 public:
  explicit Autocast(bool enabled);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool before_;
};

}  // namespace compression
