#include "compress/train/autocast.h"

#include <ATen/autocast_mode.h>

#include "compress/workflow/machine.h"  // processor_has

namespace compression {

bool uses_bfloat16(Precision precision, torch::Device device) {
  if (precision != Precision::automatic) return precision == Precision::bfloat16;
  if (!device.is_cpu()) return true;
  return processor_has("avx512_bf16") || processor_has("amx_bf16");
}

Autocast::Autocast(bool enabled, torch::Device device)
    : device_(device.type()), before_(at::autocast::is_autocast_enabled(device_)) {
  at::autocast::increment_nesting();
  at::autocast::set_autocast_enabled(device_, enabled);
  if (enabled) at::autocast::set_autocast_dtype(device_, at::kBFloat16);
}

Autocast::~Autocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, before_);
}

}  // namespace compression
