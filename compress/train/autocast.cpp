#include "compress/train/autocast.h"

#include <ATen/autocast_mode.h>

#include "compress/workflow/machine.h"  // processor_has

namespace compression {

bool uses_bfloat16(Precision precision) {
  if (precision != Precision::automatic) return precision == Precision::bfloat16;
  return processor_has("avx512_bf16") || processor_has("amx_bf16");
}

Autocast::Autocast(bool enabled) : before_(at::autocast::is_autocast_enabled(at::kCPU)) {
  at::autocast::increment_nesting();
  at::autocast::set_autocast_enabled(at::kCPU, enabled);
  if (enabled) at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
}

Autocast::~Autocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, before_);
}

}  // namespace compression
